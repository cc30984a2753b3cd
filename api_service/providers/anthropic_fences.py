"""Takes Markdown code fences off a text that should be JSON only, as it comes."""

from __future__ import annotations

import re

_OPENING = re.compile(r"\s*```[A-Za-z]*[ \t]*\r?\n")
_PERHAPS_OPENING = re.compile(r"\s*(`{0,2}|```[A-Za-z]*[ \t]*\r?)")
_FENCE = "```"
_MOST_HELD = 1000  # characters: longer ones are no fence, whatever they are


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
            elif len(self._held) <= _MOST_HELD and _PERHAPS_OPENING.fullmatch(self._held):
                return ""
            self._begun = True
        if not self._fenced:
            return self._release(len(self._held))
        start = _closing_start(self._held)
        return self._release(start if len(self._held) - start <= _MOST_HELD else len(self._held))

    def end(self) -> str:
        """The text has ended. Returns what was held back and is no fence."""
        body = self._held.rstrip()
        if self._fenced and body.endswith(_FENCE):
            self._held = body.removesuffix(_FENCE).rstrip()
        return self._release(len(self._held))

    def _release(self, size: int) -> str:
        released, self._held = self._held[:size], self._held[size:]
        return released


def _closing_start(text: str) -> int:
    """Where a closing fence, whole or begun, and the white space before it may start."""
    body = text.rstrip()
    ticks = min(len(body) - len(body.rstrip("`")), len(_FENCE))
    if ticks < len(_FENCE) and len(body) < len(text):
        ticks = 0  # white space within a fence
    return len(body[: len(body) - ticks].rstrip())
