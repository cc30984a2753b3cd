"""The `marsys` command as a user runs it: a process, its output and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from client_scripted import reasoning, text, tool_call
from client_terminal import NOBODY, marsys

from marsys import __version__
from marsys.v1 import Cost, ErrorReason, FinishReason, ModelError, Usage


def test_version():
    result = marsys("--version")
    assert (result.stdout, result.returncode) == (f"marsys {__version__}\n", 0)


def test_help_names_the_commands():
    result = marsys("--help")
    for command in ("serve", "chat", "models", "ps", "load", "unload", "health", "oauth"):
        assert command in result.stdout


# health


@pytest.mark.parametrize(
    ("options", "word", "status"),
    [
        ([], "SERVING", 0),
        (["--service", "down"], "NOT_SERVING", 1),
        (["--service", "what"], "SERVICE_UNKNOWN", 1),
    ],
)
def test_health(service, options, word, status):
    result = marsys("health", service.address, *options)
    assert (result.stdout.strip(), result.returncode) == (word, status)


def test_health_by_name_as_json(local):
    result = marsys("health", "local", "--json", env=local)
    target = local["MARSYS_LOCAL_TARGET"]
    assert json.loads(result.stdout) == {"target": target, "service": "", "status": "SERVING"}


def test_health_of_nobody():
    result = marsys("health")
    assert result.returncode == 1
    assert f"no service answers at {NOBODY}" in result.stderr
    assert "Traceback" not in result.stderr


# chat, one question


def test_a_question(local, service):
    service.say(
        reasoning("Hm."),
        text("Paris is it."),
        tool_call("look", '{"at":"map"}'),
        usage=Usage(input_tokens=7, output_tokens=3),
    )
    result = marsys(
        "chat", "-m", "tiny", "-s", "Be brief.", "--temperature", "0", "Where?", env=local
    )
    assert result.stdout == "Paris is it.\n"
    assert "Hm." in result.stderr
    assert 'look({"at": "map"})' in result.stderr
    assert "7 tokens in, 3 out" in result.stderr
    assert result.returncode == 0
    (request,) = service.requests
    assert [message.parts[0].text.text for message in request.messages] == ["Be brief.", "Where?"]
    assert request.config.HasField("temperature")
    assert not request.config.HasField("max_tokens")
    assert not request.HasField("target")


def test_the_first_loaded_model_answers_where_none_is_named(local, service):
    service.say(text("Hi"))
    assert marsys("chat", "Hello", env=local).returncode == 0
    assert service.requests[0].model == "tiny"


def test_a_question_from_a_pipe(local, service):
    service.say(text("Hi"))
    assert marsys("chat", "-m", "tiny", input="from the pipe\n", env=local).stdout == "Hi\n"
    assert service.requests[0].messages[0].parts[0].text.text == "from the pipe"


def test_what_is_piped_in_goes_before_the_question(local, service):
    service.say(text("Hi"))
    marsys("chat", "-m", "tiny", "What is it?", input="a file\n", env=local)
    marsys("chat", "-m", "tiny", "-", input="a question\n", env=local)
    asked = [request.messages[0].parts[0].text.text for request in service.requests]
    assert asked == ["a file\n\nWhat is it?", "a question"]


def test_the_model_of_the_environment(local, service):
    service.say(text("Hi"))
    marsys("chat", "Hello", env={**local, "MARSYS_MODEL": "big"})
    assert service.requests[0].model == "big"


def test_the_status_line_tells_of_cost_thinking_and_a_cut(local, service):
    service.say(
        text("Hi"),
        usage=Usage(
            input_tokens=9,
            output_tokens=8,
            reasoning_tokens=5,
            cache_read_tokens=4,
            total_tokens=17,
        ),
        cost=Cost(nano_usd=1_250_000),
        finish=FinishReason.FINISH_REASON_LENGTH,
    )
    said = marsys("chat", "-m", "tiny", "Hello", env=local).stderr
    assert "9 tokens in (4 cached), 8 out (5 thinking) · $0.0013 · " in said
    assert "cut off at the token limit" in said


def test_thinking_may_be_hidden(local, service):
    service.say(reasoning("Hm."), text("Hi"))
    shown = marsys("chat", "-m", "tiny", "Hello", env=local)
    hidden = marsys("chat", "-m", "tiny", "--hide-thinking", "Hello", env=local)
    assert "thinking: Hm.\n" in shown.stderr
    assert "Hm." not in hidden.stderr
    assert shown.stdout == hidden.stdout == "Hi\n"


def test_no_colours_in_pipes(local, service):
    service.say(reasoning("Hm."), text("Hi"))
    for arguments in (["chat", "-m", "tiny", "Hello"], ["models"], ["ps"]):
        result = marsys(*arguments, env={**local, "TERM": "xterm-256color"})
        assert "\x1b" not in result.stdout + result.stderr


def test_a_pipe_that_is_closed_early_is_no_fault(local, service):
    service.say(text("word " * 50_000))
    command = f"{sys.executable} -m marsys.cli chat -m tiny Hello | head -c 4"
    environment = {**os.environ, "MARSYS_API_TARGET": NOBODY, **local}
    result = subprocess.run(
        ["sh", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "word"
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_a_name_that_is_not_local_goes_to_the_api(service):
    service.say(text("Hi"))
    result = marsys("chat", "-m", "xai/grok-4", "Hello", env={"MARSYS_API_TARGET": service.address})
    assert result.stdout == "Hi\n"
    assert service.requests[0].model == "xai/grok-4"


def test_local_loads_the_model_and_tells_of_it(local, service):
    service.fail(ModelError(reason=ErrorReason.ERROR_REASON_MODEL_NOT_LOADED))
    service.say(text("Hi"))
    result = marsys("chat", "--local", "-m", "other", "Hello", env=local)
    assert result.stdout == "Hi\n"
    assert "other: downloading" in result.stderr
    assert service.loads[0].model == "other"


def test_a_question_as_json(local, service):
    service.say(text("Hi"))
    response = json.loads(marsys("chat", "-m", "tiny", "--json", "Hello", env=local).stdout)
    assert response["content"] == "Hi"
    assert response["finish_reason"] == "stop"


def test_an_image(local, service, tmp_path):
    place = tmp_path / "x.gif"
    place.write_bytes(b"GIF89a...")
    service.say(text("Hi"))
    marsys("chat", "-m", "tiny", "--image", str(place), "What is it?", env=local)
    assert service.requests[0].messages[0].parts[1].media.media_type == "image/gif"


def test_errors_are_a_line_and_the_next_step(local, service):
    error = ModelError(
        reason=ErrorReason.ERROR_REASON_OVERLOADED, message="busy", suggested_action="Wait."
    )
    service.fail(error)
    result = marsys("chat", "-m", "tiny", "Hello", env=local)
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["marsys: busy", "        Wait. (request req-failed)"]


def test_a_missing_key_is_named(service):
    service.fail(
        ModelError(
            reason=ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED,
            message="there is no API key for xai",
            provider="xai",
        )
    )
    result = marsys("chat", "-m", "xai/grok-4", "Hello", env={"MARSYS_API_TARGET": service.address})
    assert "Set XAI_API_KEY" in result.stderr


def test_bytes_that_are_no_text(local):
    command = [sys.executable, "-m", "marsys.cli", "chat", "-m", "tiny"]
    result = subprocess.run(
        command,
        input=b"\xff\xfe\x00",
        env={**os.environ, **local},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert b"UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["Hello"], 1, "marsys serve local"),
        (["-m", "nope", "Hello"], 1, "marsys serve local"),
        (["--api", "--local", "-m", "x", "Hello"], 2, "exclude"),
        (["--api", "Hello"], 1, "needs a model"),
        (["-m", "a/b", "--target", "nonsense", "Hello"], 1, "is no target"),
        ([], 2, "no question"),
        (["--json"], 2, "no question"),
        (["-m", "a/b", "--image", "/nope.png", "Hello"], 1, "no such file"),
        (["-m", "a/b", "--tools", "/nope.py", "Hello"], 1, "/nope.py is no Python file"),
        (["-m", "a/b", "Hello"], 1, "no service answers"),
    ],
)
def test_wrong_use(arguments, status, said):
    result = marsys("chat", *arguments)
    assert result.returncode == status
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_chat_says_that_a_chosen_target_does_not_answer():
    result = marsys("chat", "-m", "x", "--target", "127.0.0.1:9", "hi")
    assert result.returncode == 1
    assert "no service answers at 127.0.0.1:9" in result.stderr
