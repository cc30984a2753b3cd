"""Takes Markdown code fences off a text that should be JSON only, as it comes."""

from __future__ import annotations

import re

_OPENING = re.compile(r"\s*```[A-Za-z]*[ \t]*\r?\n")
_PERHAPS_OPENING = re.compile(r"\s*(`{0,2}|```[A-Za-z]*[ \t]*\r?)")
_CLOSING = re.compile(r"\s*```\s*\Z")
_PERHAPS_CLOSING = re.compile(r"\s*(`{0,2}|```\s*)\Z")


class FenceStripper:
    """Strips one text. What may be part of a fence is held back until that is clear."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False  # whether the text's beginning is settled
        self._fenced = False

    def feed(self, text: str) -> str:
        """The next text. Returns what is certain to be no fence."""
        self._held += text
        if not self._begun:
            opening = _OPENING.match(self._held)
            if opening:
                self._fenced = True
                self._held = self._held[opening.end() :]
            elif _PERHAPS_OPENING.fullmatch(self._held):
                return ""
            self._begun = True
        if not self._fenced:
            return self._release(len(self._held))
        last = _PERHAPS_CLOSING.search(self._held)
        return self._release(last.start() if last else len(self._held))

    def end(self) -> str:
        """The text has ended. Returns what was held back and is no fence."""
        if self._fenced:
            closing = _CLOSING.search(self._held)
            if closing:
                self._held = self._held[: closing.start()]
        return self._release(len(self._held))

    def _release(self, size: int) -> str:
        released, self._held = self._held[:size], self._held[size:]
        return released
