"""Finds the texts that have a meaning in a notation, in text that comes in pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NEVER = "(?!)"
_SPACE = 64  # characters that may stand between a mark and what must follow it


@dataclass(frozen=True, slots=True)
class Mark:
    """A text with a meaning.

    Attributes:
        text: the text.
        then: one of these must follow, after white space; empty: anything may. So a mark that a
            model merely mentions isn't taken for one.
        or_end: the end of the answer may follow as well.
    """

    text: str
    then: tuple[str, ...] = ()
    or_end: bool = False


class Marks:
    """A set of marks to look for.

    Args:
        *marks: texts, or Marks where something must follow.
    """

    def __init__(self, *marks: str | Mark) -> None:
        self._marks = [Mark(mark) if isinstance(mark, str) else mark for mark in marks]
        texts = sorted({mark.text for mark in self._marks})
        self._any = re.compile("|".join(map(re.escape, texts)) if texts else _NEVER)
        self._longest = max(map(len, texts), default=1)
        self._begins = {
            mark.text[:size] for mark in self._marks for size in range(1, len(mark.text))
        }

    def find(self, text: str, at: int, ended: bool) -> tuple[int, Mark | None]:
        """The first mark, and where it stands.

        Args:
            text: what has come.
            at: where to begin.
            ended: whether no more text comes.

        Returns:
            Without a mark: how far there certainly is none.
        """
        while found := self._any.search(text, at):
            start = found.start()
            for mark in self._marks:
                if text.startswith(mark.text, start):
                    follows = _follows(mark, text, start + len(mark.text), ended)
                    if follows is None:
                        return start, None
                    if follows:
                        return start, mark
            at = start + 1
        if ended:
            return len(text), None
        for begin in range(max(at, len(text) - self._longest + 1), len(text)):
            if text[begin:] in self._begins:
                return begin, None
        return len(text), None


def _follows(mark: Mark, text: str, at: int, ended: bool) -> bool | None:
    """Whether what must follow does; None: not known yet."""
    if not mark.then and not mark.or_end:
        return True
    rest = text[at : at + _SPACE].lstrip(" \t\r\n")
    if not rest:
        if len(text) - at >= _SPACE:
            return False
        return mark.or_end if ended else None
    begin = at + len(text[at : at + _SPACE]) - len(rest)
    for follower in mark.then:
        if text.startswith(follower, begin):
            return True
        if not ended and len(text) - begin < len(follower) and follower.startswith(text[begin:]):
            return None
    return False
