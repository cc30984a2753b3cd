"""Reads a text that comes in pieces, as if it were there already.

What reads is a generator: it yields where it needs more text, and goes on when that has come. So a
notation is written down as straight code, each character is looked at about once, and where the
text was split makes no difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Protocol, TypeAlias, TypeVar

from local_inference_service.parsing._marks import Marks

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]

_SPACE = re.compile(r"[ \t\r\n]*")


class Scanner(Protocol):
    """Recognises a value as it comes."""

    done: bool
    failed: bool

    def scan(self, text: str, at: int) -> tuple[int, str]:
        """Take text from a place on. Returns where the value goes on or ends, and what it adds."""
        ...


class Reader:
    """The text of one answer.

    Attributes:
        ended: whether all of it has come.
        cut_off: whether the model didn't end it itself.
    """

    def __init__(self) -> None:
        self.ended = False
        self.cut_off = False
        self._text = ""
        self._at = 0
        self._kept: list[str] | None = None

    def feed(self, text: str) -> None:
        """More text has come."""
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self, cut_off: bool) -> None:
        """No more text comes."""
        self.ended = True
        self.cut_off = cut_off

    def keep(self, text: str = "") -> None:
        """Remember what is read from here on, after a text that was read before."""
        self._kept = [text]

    def kept(self) -> str:
        """What was read since `keep`; it isn't remembered any longer."""
        kept, self._kept = self._kept, None
        return "".join(kept or ())

    def peek(self) -> Steps[str]:
        """The next character, which stays; empty at the end."""
        while self._at == len(self._text):
            if self.ended:
                return ""
            yield
        return self._text[self._at]

    def take(self) -> Steps[str]:
        """The next character; empty at the end."""
        char = yield from self.peek()
        self._take(self._at + len(char))
        return char

    def accept(self, literal: str) -> Steps[bool]:
        """Read a text if it comes next."""
        found = yield from self.sees(literal)
        if found:
            self._take(self._at + len(literal))
        return found

    def sees(self, *literals: str) -> Steps[bool]:
        """Whether one of some texts comes next; it stays."""
        while True:
            if any(self._text.startswith(literal, self._at) for literal in literals):
                return True
            rest = self._text[self._at : self._at + max(map(len, literals))]
            if self.ended or not any(literal.startswith(rest) for literal in literals):
                return False
            yield

    def space(self) -> Steps[str]:
        """Read white space."""
        return (yield from self.run(_SPACE))

    def run(self, pattern: re.Pattern[str], limit: int | None = None) -> Steps[str]:
        """Read characters for as long as they fit.

        Args:
            pattern: a repeated class of characters, such as `[a-z]*`.
            limit: most characters.
        """
        pieces: list[str] = []
        left = limit
        while left is None or left > 0:
            most = len(self._text) if left is None else min(len(self._text), self._at + left)
            found = pattern.match(self._text, self._at, most)
            assert found is not None
            pieces.append(self._take(found.end()))
            if left is not None:
                left -= len(pieces[-1])
            if self._at < len(self._text) or self.ended:
                break
            yield
        return "".join(pieces)

    def upto(self, marks: Marks, write: Callable[[str], object]) -> Steps[str]:
        """Read up to a mark and the mark itself.

        Args:
            marks: what to look for.
            write: gets the text before it, as it comes.

        Returns:
            The mark; empty at the end.
        """
        while True:
            start, mark = marks.find(self._text, self._at, self.ended)
            if start > self._at:
                write(self._take(start))
            if mark is not None:
                return self._take(start + len(mark.text))
            if self.ended:
                return ""
            yield

    def through(self, scanner: Scanner, write: Callable[[str], object]) -> Steps[bool]:
        """Read a value.

        Args:
            scanner: recognises it.
            write: gets it as it comes.

        Returns:
            Whether it was whole and well formed.
        """
        while True:
            end, text = scanner.scan(self._text, self._at)
            self._take(end)
            if text:
                write(text)
            if scanner.done or scanner.failed or self.ended:
                return scanner.done
            yield

    def _take(self, end: int) -> str:
        taken = self._text[self._at : end]
        self._at = end
        if self._kept is not None and taken:
            self._kept.append(taken)
        return taken
