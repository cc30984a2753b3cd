"""An answer on the terminal as it comes."""

from __future__ import annotations

import enum
import json
import sys
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
    try:
        with stream:
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
    except KeyboardInterrupt:
        _end_line(ended_line)
        dim("interrupted")
        return Shown.INTERRUPTED
    except BaseException:
        _end_line(ended_line)
        raise
    return Shown.WHOLE


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
