"""Server-sent events: bytes, split anywhere, into events. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Largest event that is taken, in bytes."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')


class SseTooLarge(Exception):
    """An event is larger than the limit."""


class SseEvent(NamedTuple):
    """One event.

    Attributes:
        name: the `event:` field; empty where there was none.
        data: the `data:` lines, joined by line feeds.
    """

    name: bytes
    data: bytes


class SseParser:
    """Parses one stream.

    Lines end with CR, LF or CRLF. Comments, `id:` and `retry:` are skipped. Events without data are
    skipped, as the specification says.

    Args:
        max_event_bytes: largest event that is taken.
        bare_json: whether a JSON object or array that stands in lines of its own, without `data:`,
            is an event too (Google's errors).
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES, *, bare_json: bool = False) -> None:
        self._limit = max_event_bytes
        self._bare_json = bare_json
        self._bare: list[bytes] = []  # lines of an unfinished JSON value
        self._depth = 0  # its open brackets
        self._bare_size = 0
        self._tail = bytearray()  # an unfinished line
        self._after_cr = False  # a line feed that comes next belongs to the line before
        self._first = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that the next bytes complete.

        Raises:
            SseTooLarge: an event is larger than the limit.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if not chunk:
            return []
        lines = chunk.splitlines(keepends=True)
        if self._tail:
            self._tail += lines[0]
            self._check(len(self._tail))
            if lines[0][-1] not in b"\r\n":
                return []
            lines[0] = bytes(self._tail)
            self._tail.clear()
        last = lines[-1]
        if last[-1] not in b"\r\n":
            self._tail += last
            self._check(len(last))
            lines.pop()
        elif last[-1] == 0x0D:
            self._after_cr = True
        return self._take(lines)

    def end(self) -> list[SseEvent]:
        """The event that the end of the stream completes.

        The specification would drop it; servers that forget the last blank line are many.
        """
        lines = [bytes(self._tail), b""] if self._tail else [b""]
        self._tail.clear()
        events = self._take(lines)
        if self._bare:
            events.append(self._bare_event())
        return events

    def _take(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        for raw in lines:
            line = raw.rstrip(b"\r\n")
            if self._first:
                self._first = False
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    events.append(SseEvent(self._name, data))
                    self._data = []
                self._name = b""
                self._size = 0
            elif line.startswith(b"data"):
                self._field(line)
            elif line.startswith(b"event:"):
                self._name = line[6:].removeprefix(b" ")
            elif self._bare_json and (self._bare or line.lstrip()[:1] in (b"{", b"[")):
                self._bare_line(line)
                if self._depth <= 0:
                    events.append(self._bare_event())
        return events

    def _bare_line(self, line: bytes) -> None:
        self._bare_size += len(line)
        self._check(self._bare_size)
        self._bare.append(line)
        outside = _STRING.sub(b"", line)
        self._depth += outside.count(b"{") + outside.count(b"[")
        self._depth -= outside.count(b"}") + outside.count(b"]")

    def _bare_event(self) -> SseEvent:
        event = SseEvent(b"", b"\n".join(self._bare))
        self._bare = []
        self._depth = self._bare_size = 0
        return event

    def _field(self, line: bytes) -> None:
        if line[4:5] == b":":
            value = line[5:].removeprefix(b" ")
        elif len(line) == 4:
            value = b""
        else:  # a field of another name that begins alike
            return
        self._size += len(value) + 1
        self._check(self._size)
        self._data.append(value)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise SseTooLarge(f"an event is larger than {self._limit} bytes")
