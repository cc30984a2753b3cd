"""An answer on the terminal as it comes."""

from __future__ import annotations

import enum
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.text import Text

from marsys.cli._terminal import dim, to_stderr
from marsys.models._stream import ResponseStream
from marsys.models.response import HarmonizedResponse


class Shown(enum.Enum):
    """How an answer came to its end."""

    WHOLE = enum.auto()
    INTERRUPTED = enum.auto()


def show(stream: ResponseStream, taken: list[str] | None = None) -> Shown:
    """Print an answer: text on standard output, all else on standard error.

    Ctrl-C cancels the call.

    Args:
        stream: the answer.
        taken: gets the text as it comes.
    """
    console = to_stderr()
    thinking = False
    ended_line = True
    stopped = threading.Event()
    try:
        with _ctrl_c(stream, stopped), stream:
            for chunk in stream:
                if chunk["thinking"]:
                    console.print(Text(chunk["thinking"], style="dim italic"), end="")
                    thinking = True
                elif thinking and chunk["type"] != "usage":
                    console.print()
                    thinking = False
                if chunk["content"]:
                    # First kept, then shown: Ctrl-C may come between the two.
                    if taken is not None:
                        taken.append(chunk["content"])
                    ended_line = chunk["content"].endswith("\n")
                    sys.stdout.write(chunk["content"])
                    sys.stdout.flush()
                for call in chunk["tool_calls"]:
                    name, arguments = call["function"]["name"], call["function"]["arguments"]
                    dim(f"tool call: {name}({_short(arguments)})")
                if chunk["type"] == "done":
                    _end_line(ended_line)
                    ended_line = True
                    dim(summary(chunk["response"]))
    except BaseException as error:
        _end_line(ended_line)
        if not stopped.is_set() and not isinstance(error, KeyboardInterrupt):
            raise
        stopped.set()
        ended_line = True
    if not stopped.is_set():
        return Shown.WHOLE
    _end_line(ended_line)
    dim("interrupted")
    return Shown.INTERRUPTED


@contextmanager
def _ctrl_c(stream: ResponseStream, stopped: threading.Event) -> Iterator[None]:
    """Let Ctrl-C cancel the call once it runs.

    An exception at any place, which is what Ctrl-C is else, may be lost within gRPC.
    """

    def stop(number: int, frame: object) -> None:
        stopped.set()
        if not stream.opened:
            raise KeyboardInterrupt
        stream.close()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def summary(response: HarmonizedResponse) -> str:
    """Tokens, cost and finish reason in one line."""
    usage: dict[str, Any] = response["usage"]
    facts = []
    if "prompt_tokens" in usage:
        facts.append(f"{usage['prompt_tokens']} tokens in")
    if "completion_tokens" in usage:
        facts.append(f"{usage['completion_tokens']} out")
    if "cost" in response:
        facts.append(f"${response['cost']:.6f}")
    facts.append(response["finish_reason"])
    return f"{response['model']}: {', '.join(facts)}"


def _end_line(ended: bool) -> None:
    if not ended:
        sys.stdout.write("\n")
        sys.stdout.flush()


def _short(arguments: str) -> str:
    try:
        text = json.dumps(json.loads(arguments), ensure_ascii=False)
    except ValueError:
        text = arguments
    return text if len(text) <= 200 else text[:200] + "..."
