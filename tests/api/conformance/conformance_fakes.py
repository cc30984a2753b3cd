"""The two fake providers, which others wrote, told what to do in one way.

A script is a dict: `text`, `reasoning`, `tools` (name and arguments), `then` (the text after their
results), `finish`, `usage` (whether it matters), `status`, `first_status` (then the answer),
`overflow`, and `fault` in a stream: "disconnect", "truncate", "corrupt" or "stall".
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from llmock.pytest_plugin import LLMock
from llmock.scenarios import Reply, ToolCall

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
AIMOCK_VERSION: str = json.loads(_HERE.joinpath("package.json").read_text())["dependencies"][
    "@copilotkit/aimock"
]
_LLMOCK = {"google": "gemini", "openrouter": "openai", "custom": "openai"}
_AIMOCK = {"anthropic": "", "google": "/v1beta", "openrouter": "/api/v1"}
# Under every provider's names: it gives back those that it is asked by.
_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 9,
    "input_tokens": 12,
    "output_tokens": 9,
    "promptTokenCount": 12,
    "candidatesTokenCount": 9,
}
_PIECES = 6  # chunks of a stream before its fault: by then every wire has told some of its text


class CannotScript(Exception):
    """The fake knows no such thing."""


class Fake(Protocol):
    """A fake provider.

    Attributes:
        name: what the matrix calls it.
        breaks_once: whether only the first of several answers is broken where one is.
    """

    name: str
    breaks_once: bool

    def base_url(self, provider: str) -> str:
        """Where it plays a provider."""
        ...

    def script(self, prompt: str, script: dict[str, Any]) -> None:
        """Say what comes of the prompt.

        Raises:
            CannotScript: it knows no such thing.
        """
        ...

    def settle(self) -> None:
        """Wait until no request is being answered."""
        ...

    def judge(self) -> None:
        """Demand a good verdict on the caller, where it gives any.

        Raises:
            AssertionError: it is a bad one.
        """
        ...


class LlmockFake:
    """llmock, from PyPI."""

    name = "llmock"
    breaks_once = True

    def __init__(self, llmock: LLMock) -> None:
        self._llmock = llmock

    def base_url(self, provider: str) -> str:
        url = self._llmock.base_url(_LLMOCK.get(provider, provider))
        version = "/v1beta" if provider == "google" and not url.endswith("/v1beta") else ""
        return url + version

    def script(self, prompt: str, script: dict[str, Any]) -> None:
        mock = self._llmock
        if "reasoning" in script:
            raise CannotScript("its models don't reason")
        if script.get("overflow"):
            mock.context_overflow()
        if "status" in script:
            mock.fail(script["status"], times=None, retry_after=0.1)
        if script.get("first_status") == 429:
            mock.rate_limit(retry_after=0.2)
        elif "first_status" in script:
            mock.fail(script["first_status"])
        calls = tuple(ToolCall(name, arguments) for name, arguments in script.get("tools", ()))
        if calls or "finish" in script:
            mock.add(Reply(script.get("text"), calls, script.get("finish"), times=None))
        elif "text" in script:
            mock.reply(script["text"], times=None)
        if script.get("fault") == "stall":
            mock.stall(after_chunks=_PIECES, seconds=20.0)
        elif "fault" in script:
            mock.pace(50)  # so that it sees the caller leave before it has said all
            getattr(mock, script["fault"])(after_chunks=_PIECES)

    def settle(self) -> None:
        """Wait until no request is being answered."""
        _ = self._llmock.requests

    def judge(self) -> None:
        """Its verdict on the caller must be clean, warnings included."""
        self._llmock.assert_resilient(strict=True)


class AimockFake:
    """aimock, from npm; its scripts are files that it reads at its start."""

    name = "aimock"
    breaks_once = False

    def __init__(self, url: str) -> None:
        self._url = url

    def base_url(self, provider: str) -> str:
        return self._url + _AIMOCK.get(provider, "/v1")

    def script(self, prompt: str, script: dict[str, Any]) -> None:
        _fixtures(prompt, script)  # they were written before the start

    def settle(self) -> None:
        """It needs no time."""

    def judge(self) -> None:
        """It has no verdict."""


def aimock_command() -> list[str] | None:
    """How aimock is started; None where it is not installed (`make conformance` installs it)."""
    folder = Path(os.environ.get("AIMOCK_DIR", _ROOT / ".aimock"))
    program = folder / "node_modules/@copilotkit/aimock/dist/cli.js"
    node = shutil.which("node")
    return [node, str(program)] if node and program.exists() else None


@contextmanager
def aimock(scripts: dict[str, dict[str, Any]], folder: Path) -> Iterator[AimockFake]:
    """Runs aimock with some scripts, by prompt."""
    fixtures: list[dict[str, Any]] = []
    for prompt, script in scripts.items():
        try:
            fixtures += _fixtures(prompt, script)
        except CannotScript:
            continue
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    command = aimock_command()
    assert command is not None
    process = subprocess.Popen(
        [*command, "-p", "0", "-f", str(file)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "listening on " in line:
                yield AimockFake(line.rpartition("listening on ")[2].strip())
                break
        else:
            raise RuntimeError("aimock did not start")
    finally:
        process.terminate()
        process.wait()


def _fixtures(prompt: str, script: dict[str, Any]) -> list[dict[str, Any]]:
    match = {"userMessage": prompt}
    if script.get("overflow"):
        message = "This model's maximum context length is 8192 tokens, you asked for 9000 tokens."
        return [_error(match, 400, message, "context_length_exceeded")]
    if "status" in script:
        return [_error(match, script["status"], f"No ({script['status']}).", "")]
    response: dict[str, Any] = {}
    if "text" in script:
        response["content"] = script["text"]
    if "reasoning" in script:
        response["reasoning"] = script["reasoning"]
    if "tools" in script:
        response["toolCalls"] = [
            {"name": name, "arguments": json.dumps(arguments)}
            for name, arguments in script["tools"]
        ]
    if "finish" in script:
        response["finishReason"] = script["finish"]
    if script.get("usage"):
        response["usage"] = _USAGE
    fixture: dict[str, Any] = {"match": match, "response": response, "chunkSize": 4}
    fault = script.get("fault")
    if fault == "corrupt":
        raise CannotScript("it spoils whole answers, not chunks")
    if fault == "disconnect":
        fixture |= {"latency": 20, "disconnectAfterMs": 200}
    elif fault == "truncate":
        fixture |= {"latency": 20, "truncateAfterChunks": _PIECES}
    elif fault == "stall":
        fixture["latency"] = 400
    if "then" in script:
        told = {"match": match | {"hasToolResult": True}, "response": {"content": script["then"]}}
        return [told, fixture | {"match": match | {"hasToolResult": False}}]
    if "first_status" not in script:
        return [fixture] if response else []
    first = _error(dict(match, sequenceIndex=0), script["first_status"], "Later.", "")
    return [first, fixture]


def _error(match: dict[str, Any], status: int, message: str, code: str) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error"} | ({"code": code} if code else {})
    return {"match": match, "response": {"error": error, "status": status, "retryAfter": 1}}
