"""`marsys chat --tools FILE.py`: the file's functions, called for the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from client_scripted import R, text, tool_call
from client_terminal import Terminal, marsys

FILE = '''
import datetime, time
from json import dumps
from typing import Literal

def weather(city: str, day: datetime.date | None = None, unit: Literal["c", "f"] = "c") -> dict:
    """Tells the weather."""
    print("looking it up")
    return {"city": city, "day": day, "unit": unit, "degrees": 21}

async def later(words: str) -> str:
    return words + "!"

def breaks() -> None:
    raise LookupError("nothing there")

def slow() -> None:
    print("it sleeps")
    time.sleep(60)

def _private() -> None: ...
'''
CALLS = R.FINISH_REASON_TOOL_CALLS


@pytest.fixture
def tools(tmp_path: Path) -> str:
    path = tmp_path / "tools.py"
    path.write_text(FILE)
    return str(path)


def results(request) -> dict[str, tuple[str, bool]]:
    """The results in a request: call's id -> text, and whether it failed."""
    found = {}
    for message in request.messages:
        for part in message.parts:
            if part.WhichOneof("content") == "tool_result":
                result = part.tool_result
                words = "".join(piece.text.text for piece in result.content)
                found[result.tool_call_id] = (words, result.is_error)
    return found


def test_the_model_calls_functions_until_it_is_content(local, service, tools):
    service.say(
        tool_call("weather", '{"city":"Paris","day":"2026-01-31"}', "1"),
        tool_call("later", '{"words":"soon"}', "2"),
        finish=CALLS,
    )
    service.say(
        tool_call("breaks", "{}", "3"),
        tool_call("weather", '{"town":1,"unit":"k"}', "4"),
        tool_call("nope", "{}", "5"),
        tool_call("later", "[]", "6"),
        finish=CALLS,
    )
    service.say(text("It is warm."))
    result = marsys("chat", "-m", "tiny", "--tools", tools, "Weather?", env=local)
    assert (result.returncode, result.stdout) == (0, "It is warm.\n")
    offered = {tool.name: tool for tool in service.requests[0].tools}
    assert list(offered) == ["weather", "later", "breaks", "slow"]
    assert offered["weather"].description == "Tells the weather."
    schema = json.loads(offered["weather"].parameters_json)
    assert schema["required"] == ["city"]
    assert schema["properties"]["unit"]["enum"] == ["c", "f"]
    found = results(service.requests[2])
    weather = {"city": "Paris", "day": "2026-01-31", "unit": "c", "degrees": 21}
    assert (json.loads(found["1"][0]), found["1"][1]) == (weather, False)
    assert found["2"] == ("soon!", False)
    assert found["3"] == ("LookupError: nothing there", True)
    assert found["4"][1]
    assert all(name in found["4"][0] for name in ("city", "town", "unit"))
    assert found["5"][1]
    assert "weather, later" in found["5"][0]
    assert found["6"][1]
    for shown in ('→ weather({"city": "Paris"', "← soon!", "← LookupError: nothing there"):
        assert shown in result.stderr
    assert "looking it up" in result.stderr


def test_as_json_nothing_else_is_on_standard_output(local, service, tools):
    service.say(tool_call("weather", '{"city":"Paris"}'), finish=CALLS)
    service.say(text("It is warm."))
    result = marsys("chat", "-m", "tiny", "--tools", tools, "--json", "Weather?", env=local)
    assert json.loads(result.stdout)["content"] == "It is warm."


def test_a_model_that_calls_for_ever_is_stopped(local, service, tools):
    service.say(tool_call("later", '{"words":"x"}'), finish=CALLS)
    result = marsys("chat", "-m", "tiny", "--tools", tools, "Go", env=local)
    assert "answers in a row called tools" in result.stderr
    assert len(service.requests) == 20


def test_ctrl_c_stops_a_tool_and_keeps_the_session(local, service, tools, tmp_path):
    service.say(tool_call("slow", "{}", "1"), tool_call("later", "{}", "2"), finish=CALLS)
    service.say(text("Hi."))
    env = {**local, "HOME": str(tmp_path)}
    terminal = Terminal("chat", "-m", "tiny", "--tools", tools, env=env)
    terminal.ask("/tools\n")
    terminal.wait_for("weather(city, day, unit)  Tells the weather.")
    terminal.ask("one\n")
    terminal.wait_for("it sleeps")
    terminal.interrupt("interrupted")
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    stopped = ("the user stopped this call", True)
    assert results(service.requests[1]) == {"1": stopped, "2": stopped}


def test_a_call_without_tools_is_shown_and_answered(local, service, tmp_path):
    service.say(tool_call("look", '{"at":"map"}', "1"), finish=CALLS)
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env={**local, "HOME": str(tmp_path)})
    terminal.ask("one\n")
    terminal.wait_for('look({"at": "map"})')
    terminal.wait_for("--tools FILE.py")
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert results(service.requests[1])["1"][1]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("x = 1", "no public function"),
        ("def f(a, /): ...", "f: its parameters must have names"),
        ("def f(*a): ...", "f: its parameters must have names"),
        ("class A: ...\ndef f(a: A): ...", "f: "),
    ],
)
def test_files_that_can_not_be_used(local, tmp_path, source, said):
    path = tmp_path / "tools.py"
    path.write_text(source)
    result = marsys("chat", "-m", "tiny", "--tools", str(path), "Hello", env=local)
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
