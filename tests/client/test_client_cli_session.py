"""A conversation with `marsys chat` on a terminal."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from client_scripted import events_of, reasoning, text
from client_terminal import NOBODY, Terminal, wait_until

from marsys.v1 import ErrorReason, ModelError

UP = "\x1b[A"
PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.fixture
def home(local, tmp_path) -> dict[str, str]:
    """The environment, with a home directory of the test's own."""
    (tmp_path / "home").mkdir()
    return {**local, "HOME": str(tmp_path / "home")}


def history_of(home: dict[str, str]) -> Path:
    return Path(home["HOME"]) / ".marsys" / "chat_history"


def said(service, index: int) -> list[str]:
    return [message.parts[0].text.text for message in service.requests[index].messages]


def test_a_conversation(home, service):
    service.say(text("First answer."))
    service.hang(after=events_of(text("Second answer."))[:3])
    service.say(text("Third answer."))
    terminal = Terminal("chat", "-m", "tiny", "-s", "Be brief.", env=home)
    terminal.ask("one\n")
    terminal.wait_for("First answer.")
    terminal.ask("two\n")
    terminal.wait_for("Second ")
    terminal.interrupt("interrupted")  # Ctrl-C stops the answer ...
    terminal.ask("three\n")  # ... and the session goes on
    terminal.wait_for("Third answer.")
    terminal.ask("/help\n")
    terminal.wait_for("/clear")
    terminal.ask("/clear\n")
    terminal.wait_for("forgotten")
    terminal.ask("four\n")
    terminal.wait_for("Third answer.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert said(service, 2) == ["Be brief.", "one", "First answer.", "two", "Second ", "three"]
    assert said(service, 3) == ["Be brief.", "four"]


def test_a_failed_turn_leaves_the_conversation_as_it_was(home, service):
    service.fail(ModelError(reason=ErrorReason.ERROR_REASON_OVERLOADED, message="busy"))
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.ask("one\n")
    terminal.wait_for("busy")
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("/quit\n")
    assert terminal.status() == 0
    assert said(service, 1) == ["two"]


def test_ctrl_c_before_anything_has_come(home, service):
    service.hang()
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env={**home, "TERM": "xterm"})
    terminal.ask("one\n")
    terminal.wait_for("0:00")  # the spinner's clock
    wait_until(lambda: service.requests)
    terminal.interrupt("interrupted")
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert said(service, 1) == ["two"]
    assert service.cancelled == 1


def test_ctrl_c_while_the_model_is_loaded(home, service):
    service.fail(ModelError(reason=ErrorReason.ERROR_REASON_MODEL_NOT_LOADED))
    service.say(text("Hi."))
    service.load_reply = "hangs"
    terminal = Terminal("chat", "-m", "new", "--local", env=home)
    terminal.ask("one\n")
    terminal.wait_for("new: downloading")
    terminal.interrupt("interrupted")
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0


def test_ctrl_c_at_the_prompt_and_in_a_long_question(home, service):
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.wait_for("> ")
    terminal.interrupt("> ")
    terminal.type('"""one\n')
    terminal.wait_for("... ")
    terminal.interrupt("> ")
    terminal.type("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert said(service, 0) == ["two"]


def test_questions_of_several_lines(home, service):
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.ask('"""one\n')
    terminal.wait_for("... ")
    terminal.type("\n")
    terminal.wait_for("... ")
    terminal.type('two"""\n')
    terminal.wait_for("Hi.")
    terminal.ask("three\\\n")
    terminal.wait_for("... ")
    terminal.type("four\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert [said(service, 0)[-1], said(service, 1)[-1]] == ["one\n\ntwo", "three\nfour"]


def test_a_pasted_text_is_one_question(home, service):
    readline = pytest.importorskip("readline")
    if "libedit" in (readline.__doc__ or ""):
        pytest.skip("libedit has no bracketed paste")
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env={**home, "TERM": "xterm"})
    terminal.ask("\x1b[200~one\n\ttwo\nthree\x1b[201~\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert said(service, 0) == ["one\n\ttwo\nthree"]


def test_a_question_from_the_editor(home, service, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from\\nthe editor\\n" > "$2"\n')
    editor.chmod(0o755)
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env={**home, "EDITOR": f"{editor} --wait"})
    terminal.ask("/edit\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert said(service, 0) == ["from\nthe editor"]


# history


def test_the_history_is_kept_between_sessions(home, service):
    service.say(text("Hi."))
    first = Terminal("chat", "-m", "tiny", env=home)
    first.ask('"""a question\n')
    first.wait_for("... ")
    first.type('of two lines"""\n')
    first.wait_for("Hi.")
    first.ask("\x04")
    assert first.status() == 0
    path = history_of(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    second = Terminal("chat", "-m", "tiny", env=home)
    second.ask(UP + "\n")
    second.wait_for("Hi.")
    second.ask("\x04")
    assert second.status() == 0
    assert said(service, 1) == ["a question\nof two lines"]


@pytest.mark.parametrize(
    ("option", "variable"), [(["--no-history"], None), ([], "off"), ([], "named")]
)
def test_the_history_may_be_off_or_elsewhere(home, service, tmp_path, option, variable):
    service.say(text("Hi."))
    place = tmp_path / "named"
    env = dict(home)
    if variable:
        env["MARSYS_CHAT_HISTORY"] = str(place) if variable == "named" else variable
    terminal = Terminal("chat", "-m", "tiny", *option, env=env)
    terminal.ask("one\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert not history_of(home).exists()
    assert place.exists() == (variable == "named")


def test_a_history_that_is_broken_or_open_to_others_or_too_long(home, service):
    service.say(text("Hi."))
    path = history_of(home)
    path.parent.mkdir()
    path.write_text('"old"\n' * 2500 + '{"no": "entry"}\nbroken\n\xff\n')
    path.chmod(0o644)
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.ask(UP + "\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert said(service, 0) == ["old"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = path.read_bytes().splitlines()
    assert (len(kept), json.loads(kept[-1])) == (1000, "old")


def test_a_history_that_can_not_be_written_is_a_note(home, service):
    service.say(text("Hi."))
    Path(home["HOME"], ".marsys").write_text("in the way")
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.ask("one\n")
    terminal.wait_for("note: the history can't be kept")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0


# commands


def test_another_model_goes_on_with_the_conversation(home, service):
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env={**home, "MARSYS_API_TARGET": service.address})
    terminal.ask("one\n")
    terminal.wait_for("Hi.")
    terminal.ask("/model nope\n")
    terminal.wait_for("no local model is named 'nope'")
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("/model xai/grok-4\n")
    terminal.wait_for("now xai/grok-4")
    terminal.ask("three\n")
    terminal.wait_for("Hi.")
    terminal.ask("/model\n")
    terminal.wait_for("big")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert [request.model for request in service.requests] == ["tiny", "tiny", "xai/grok-4"]
    assert said(service, 2) == ["one", "Hi.", "two", "Hi.", "three"]


def test_images_of_a_question(home, service, tmp_path):
    service.say(text("Hi."))
    place = tmp_path / "an image.png"
    place.write_bytes(PNG)
    terminal = Terminal("chat", "-m", "tiny", "--image", str(place), env=home)
    terminal.wait_for("[1 image] > ")
    terminal.type(f"/image {place}\n")
    terminal.wait_for("[2 images] > ")
    terminal.type("/image /nope.png\n")
    terminal.wait_for("no such file")
    terminal.ask("one\n")
    terminal.wait_for("Hi.")
    place.unlink()  # the conversation doesn't change with the file
    terminal.ask("two\n")
    terminal.wait_for("Hi.")
    terminal.ask("\x04")
    assert terminal.status() == 0
    first, second = service.requests
    assert [part.media.data for part in first.messages[0].parts[1:]] == [PNG, PNG]
    assert second.messages[0] == first.messages[0]
    assert len(second.messages[2].parts) == 1


def test_instructions_and_what_is_no_command(home, service):
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.ask("/system Be brief.\n")
    terminal.wait_for("set")
    terminal.ask("/system\n")
    terminal.wait_for("Be brief.")
    terminal.ask("/etc/hosts is what?\n")
    terminal.wait_for("/etc/hosts is no command")
    terminal.ask(" /etc/hosts is what?\n")
    terminal.wait_for("Hi.")
    terminal.ask("/exit\n")
    assert terminal.status() == 0
    assert said(service, 0) == ["Be brief.", "/etc/hosts is what?"]


def test_tab_completes_commands_and_models(home, service):
    readline = pytest.importorskip("readline")
    if "libedit" in (readline.__doc__ or ""):
        pytest.skip("libedit shows completions in another way")
    terminal = Terminal("chat", "-m", "tiny", env=home)
    terminal.ask("/mod\tbi\t\n")
    terminal.wait_for("now big")
    terminal.ask("\x04")
    assert terminal.status() == 0


# what is seen


def test_what_a_model_writes_can_not_steer_the_terminal(home, service):
    service.say(reasoning("a\x1b[2Jb"), text("c\x1b]0;title\x07d\te"))
    terminal = Terminal("chat", "-m", "tiny", "Hello", env=home)
    assert terminal.status() == 0
    assert "a[2Jb" in terminal.seen
    assert "c]0;titled\te" in terminal.seen
    assert "\x1b" not in terminal.seen


def test_thinking_is_dimmed(home, service):
    service.say(reasoning("Hm."), text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", "Hello", env={**home, "TERM": "xterm-256color"})
    assert terminal.status() == 0
    assert "\x1b[2;3mHm.\x1b[0m" in terminal.seen
    assert "\nHi." in terminal.seen


def test_prompts_stay_out_of_a_file(home, service, tmp_path):
    service.say(text("Hi."))
    place = tmp_path / "answers"
    terminal = Terminal(env=home, command=f"{sys.executable} -m marsys.cli chat -m tiny > {place}")
    terminal.ask("one\n")
    terminal.ask("two\n")
    terminal.ask("\x04")
    assert terminal.status() == 0
    assert place.read_text() == "Hi.\nHi.\n"


def test_ctrl_c_ends_a_single_question(home, service):
    service.hang(after=events_of(text("Some words."))[:3])
    terminal = Terminal("chat", "-m", "tiny", "Hello", env=home)
    terminal.wait_for("Some ")
    terminal.interrupt("interrupted")
    assert terminal.status() == 130


def test_a_fault_of_the_command_is_no_traceback():
    faulty = (
        "import sys, marsys.cli.chat as chat\n"
        "from marsys.cli import main\n"
        "chat.Chooser = None\n"
        "sys.argv = ['marsys', 'chat', 'hi']\n"
        "main()\n"
    )
    env = {**os.environ, "MARSYS_LOCAL_TARGET": NOBODY}
    run = [sys.executable, "-c", faulty]
    result = subprocess.run(run, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "marsys: a fault of this command: TypeError" in result.stderr
    assert "Traceback" not in result.stderr
    env["MARSYS_DEBUG"] = "1"
    result = subprocess.run(run, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" in result.stderr
