"""Token ids -> text as it comes: whole characters only, ended by stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"  # what a decoder shows for the bytes of an unfinished character


class TextStream:
    """The text of one generation.

    Args:
        decode: token ids -> text.
        stops: strings that end the text; they aren't part of it.

    Attributes:
        stopped_by: the stop string that was met, or None.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()) -> None:
        self.stopped_by: str | None = None
        self._decode = decode
        self._stops = tuple(stops)
        self._ids: list[int] = []
        # Tokens are decoded with the few before them, since a token's text can depend on those
        # (spaces between words). Of the ids from _start on, those up to _done have become text.
        self._start = 0
        self._done = 0
        self._held = ""  # may be the beginning of a stop string

    def push(self, token: int) -> str:
        """Take a token. Returns the text that is now certain; may be empty."""
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._done])
        text = self._decode(self._ids[self._start :])
        if len(text) <= len(before) or text.endswith(_BROKEN):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return self._certain(text[len(before) :])

    def end(self) -> str:
        """The text that was held back when the generation ends by itself."""
        if self.stopped_by is not None:
            return ""
        before = self._decode(self._ids[self._start : self._done])
        rest = self._decode(self._ids[self._start :])[len(before) :]
        self._done = len(self._ids)
        text = self._certain(rest)
        if self.stopped_by is None:
            text, self._held = text + self._held, ""
        return text

    def _certain(self, new: str) -> str:
        text = self._held + new
        found = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if found:
            at, self.stopped_by = min(found)
            self._held = ""
            return text[:at]
        keep = self._uncertain(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _uncertain(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                return size
        return 0
