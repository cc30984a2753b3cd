"""The `marsys` command as a user runs it: a process, its output and its exit status."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client_scripted import events_of, reasoning, text, tool_call

from marsys import __version__
from marsys.v1 import ErrorReason, Model, ModelError, ModelState, Usage

NOBODY = "127.0.0.1:9"
LISTED = [
    Model(name="tiny", provider="huggingface", state=ModelState.MODEL_STATE_READY),
    Model(name="big", provider="huggingface", state=ModelState.MODEL_STATE_LOADING),
]
LISTED[0].context_length = 2048


def marsys(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MARSYS_API_TARGET": NOBODY, "MARSYS_LOCAL_TARGET": NOBODY}
    environment.update(options.pop("env", {}))
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    return subprocess.run(
        [sys.executable, "-m", "marsys.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def local(service):
    """The scripted service in the place of local_inference_service."""
    service.listed = LISTED
    return {"MARSYS_LOCAL_TARGET": service.address}


def test_version():
    result = marsys("--version")
    assert (result.stdout, result.returncode) == (f"marsys {__version__}\n", 0)


def test_help_names_the_commands():
    result = marsys("--help")
    for command in ("serve", "chat", "models", "health"):
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


def test_health_of_nobody():
    result = marsys("health")
    assert result.returncode == 1
    assert f"no service answers at {NOBODY}" in result.stderr
    assert "Traceback" not in result.stderr


# models


def test_models(local, service):
    result = marsys("models", env=local)
    assert result.returncode == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["service", "model", "provider", "state", "context"],
        ["local", "tiny", "huggingface", "ready", "2048"],
        ["local", "big", "huggingface", "loading"],
    ]
    assert f"api: no service answers at {NOBODY}" in result.stderr


def test_models_as_json(local):
    rows = json.loads(marsys("models", "--json", env=local).stdout)
    assert [(row["service"], row["name"], row["state"]) for row in rows] == [
        ("local", "tiny", "ready"),
        ("local", "big", "loading"),
    ]


def test_models_of_nobody():
    result = marsys("models")
    assert result.returncode == 1
    assert result.stderr.count("no service answers") == 2
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


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["Hello"], 1, "marsys serve local"),
        (["-m", "nope", "Hello"], 1, "marsys models"),
        (["--api", "--local", "-m", "x", "Hello"], 2, "exclude"),
        (["--api", "Hello"], 1, "needs a model"),
        (["-m", "a/b", "--target", "nonsense", "Hello"], 1, "is no target"),
        ([], 2, "no question"),
    ],
)
def test_wrong_use(arguments, status, said):
    result = marsys("chat", *arguments)
    assert result.returncode == status
    assert said in result.stderr
    assert "Traceback" not in result.stderr


# chat, a conversation on a terminal


class Terminal:
    """The command on a pseudo-terminal."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ.update({"MARSYS_API_TARGET": NOBODY, "TERM": "dumb", **env})
            os.execv(sys.executable, [sys.executable, "-m", "marsys.cli", *arguments])
        self.pid = pid
        self.seen = ""

    def wait_for(self, words: str) -> None:
        """Read until the words have come; what came before them is forgotten."""
        end = time.monotonic() + 60
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            self.seen += os.read(self.fd, 65536).decode()
        self.seen = self.seen[self.seen.index(words) + len(words) :]

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def status(self) -> int:
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:  # the other end is closed
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_conversation(local, service):
    service.say(text("First answer."))
    service.hang(after=events_of(text("Second answer."))[:3])
    service.say(text("Third answer."))
    terminal = Terminal("chat", "-m", "tiny", "-s", "Be brief.", env=local)
    terminal.wait_for("> ")
    terminal.type("one\n")
    terminal.wait_for("First answer.")
    terminal.wait_for("> ")
    terminal.type("two\n")
    terminal.wait_for("Second ")
    terminal.type("\x03")  # Ctrl-C stops the answer ...
    terminal.wait_for("interrupted")
    terminal.wait_for("> ")
    terminal.type("three\n")  # ... and the session goes on
    terminal.wait_for("Third answer.")
    terminal.wait_for("> ")
    terminal.type("/help\n")
    terminal.wait_for("/clear")
    terminal.wait_for("> ")
    terminal.type("/clear\n")
    terminal.wait_for("forgotten")
    terminal.wait_for("> ")
    terminal.type("four\n")
    terminal.wait_for("Third answer.")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.status() == 0

    def said(index: int) -> list[str]:
        return [message.parts[0].text.text for message in service.requests[index].messages]

    assert said(2) == ["Be brief.", "one", "First answer.", "two", "Second ", "three"]
    assert said(3) == ["Be brief.", "four"]


def test_a_failed_turn_leaves_the_conversation_as_it_was(local, service):
    service.fail(ModelError(reason=ErrorReason.ERROR_REASON_OVERLOADED, message="busy"))
    service.say(text("Hi."))
    terminal = Terminal("chat", "-m", "tiny", env=local)
    terminal.wait_for("> ")
    terminal.type("one\n")
    terminal.wait_for("busy")
    terminal.wait_for("> ")
    terminal.type("two\n")
    terminal.wait_for("Hi.")
    terminal.wait_for("> ")
    terminal.type("/quit\n")
    assert terminal.status() == 0
    assert len(service.requests[1].messages) == 1


# serve, with stand-ins for the services


STAND_IN = """
import os, signal, sys, time
def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())  # in one piece: two processes share the pipe
def stop(number, frame):
    say("stopped by", signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
say(__spec__.name.split(".")[0], *sys.argv[1:])
if "--fail" in sys.argv:
    sys.exit(7)
time.sleep(60)
"""


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch) -> dict[str, str]:
    for name in ("api_service", "local_inference_service"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "__main__.py").write_text(STAND_IN)
    for name in ("torch", "transformers", "aiohttp", "grpc_health", "pydantic_settings"):
        (tmp_path / f"{name}.py").touch()
    paths = [str(Path(path).resolve()) for path in sys.path if path]
    monkeypatch.chdir(tmp_path)  # what lies here is imported before the real ones
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *paths])}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_all_hands_signals_on(stand_ins, number):
    command = [sys.executable, "-m", "marsys.cli", "serve", "all", "--api-address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--model", "tiny", "--", "--log-level", "debug"],
        env=stand_ins,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    started = sorted([process.stdout.readline().strip(), process.stdout.readline().strip()])
    assert started == [
        "api_service --address 127.0.0.1:0 --log-level debug",
        "local_inference_service --model tiny --log-level debug",
    ]
    process.send_signal(number)
    assert process.stdout.read().splitlines() == [f"stopped by {number.name}"] * 2
    assert process.wait(30) == 0


def test_serve_passes_on_the_exit_status(stand_ins):
    result = subprocess.run(
        [sys.executable, "-m", "marsys.cli", "serve", "local", "--", "--fail"],
        env=stand_ins,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 7
    assert result.stdout == "local_inference_service --fail\n"


def test_when_one_service_ends_so_does_the_other(stand_ins, tmp_path):
    (tmp_path / "api_service" / "__main__.py").write_text("import sys; sys.exit(3)")
    result = subprocess.run(
        [sys.executable, "-m", "marsys.cli", "serve", "all"],
        env=stand_ins,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 3


def test_serve_names_the_missing_extra(tmp_path):
    hidden = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'aiohttp' else real(name)\n"
        "sys.argv = ['marsys', 'serve', 'api']\n"
        "from marsys.cli import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "pip install 'marsys-models[api]'" in result.stderr


def test_chat_says_that_a_chosen_target_does_not_answer():
    result = marsys("chat", "-m", "x", "--target", "127.0.0.1:9", "hi")
    assert result.returncode == 1
    assert "no service answers at 127.0.0.1:9" in result.stderr
