"""An answer on the terminal as it comes."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.text import Text

from marsys.cli._terminal import dim, plain, say, to_stderr
from marsys.cli._waiting import Waiting
from marsys.models._stream import ResponseStream

_LONGEST = 160  # characters of a tool's arguments or result that are shown


class AnswerScreen:
    """Prints answers: their text on standard output, all else on standard error.

    Args:
        waiting: what is shown until the first words come.
        thinking: whether the model's thinking is shown.
    """

    def __init__(self, waiting: Waiting, *, thinking: bool = True) -> None:
        self._waiting = waiting
        self._thinking = thinking
        self._on_terminal = sys.stdout.isatty()
        self._line_open = False  # whether standard output stands within a line
        self._thinks = False

    async def show(self, stream: ResponseStream, taken: list[str]) -> None:
        """Print an answer to its end.

        Args:
            stream: the answer.
            taken: gets the text as it comes, also of an answer that is then cut off.
        """
        try:
            async with stream:
                async for chunk in stream:
                    # First kept, then shown: Ctrl-C may come between the two.
                    taken.append(chunk["content"])
                    self._show(chunk)
        finally:
            self._waiting.stop()
            self._end_thinking()
            self.end_line()

    def end_line(self) -> None:
        """End the line that standard output stands in, if it does."""
        if self._line_open:
            self._line_open = False
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _show(self, chunk: dict[str, Any]) -> None:
        if chunk["thinking"] and self._thinking:
            self._think(chunk["thinking"])
        if chunk["content"]:
            self._say(chunk["content"])
        for image in chunk.get("images", ()):
            self._aside(f"an image: {_kind(image['image_url']['url'])} (--json holds it)")

    def _say(self, text: str) -> None:
        self._waiting.stop()
        self._end_thinking()
        if self._on_terminal:
            text = plain(text)
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._line_open = not text.endswith("\n")

    def _think(self, text: str) -> None:
        self._waiting.stop()
        console = to_stderr()
        if not self._thinks and not (console.is_terminal and console.color_system):
            text = f"thinking: {text}"  # nothing else tells it from the answer
        self._thinks = True
        console.print(Text(plain(text), style="dim italic"), end="")

    def _end_thinking(self) -> None:
        if self._thinks:
            self._thinks = False
            to_stderr().print("\n")

    def _aside(self, words: str) -> None:
        self._waiting.stop()
        self._end_thinking()
        self.end_line()
        dim(words)


def tell_call(call: dict[str, Any]) -> None:
    """Show that the model calls a tool."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    text = Text("→ ", style="cyan").append(plain(name), style="cyan")
    say(text.append(f"({_short(_compact(arguments))})", style="dim"))


def tell_result(content: str, *, failed: bool) -> None:
    """Show what a tool gave back."""
    text = Text("← ", style="red" if failed else "cyan")
    say(text.append(_short(content), style="dim"))


def _compact(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False)
    except ValueError:
        return arguments


def _short(text: str) -> str:
    line = " ".join(plain(text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}... ({len(text)} characters)"


def _kind(url: str) -> str:
    return url[5 : url.index(";")] if url.startswith("data:") and ";" in url else url
