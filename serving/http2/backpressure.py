"""Lets callers wait whose handlers don't read.

zttp gives a stream credit for what its caller sent as soon as it has come (WINDOW_UPDATE, RFC 9113
section 6.9). Of streams that are held, these frames are taken out of what goes out, and their sum
is given when the handler has caught up. Other streams of the connection go on.
"""

from __future__ import annotations

import struct

_HEAD = 9  # bytes of a frame before its payload
_TYPE = 3  # where a frame's type stands
_WINDOW_UPDATE = 8
_UPDATE = struct.Struct(">3sBBII")


class Backpressure:
    """The streams of a connection that are held."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}  # stream -> bytes of credit that it is owed

    def hold(self, stream_id: int) -> None:
        """Give a stream no more credit."""
        self._held.setdefault(stream_id, 0)

    def release(self, stream_id: int) -> bytes:
        """Let a stream go on. Returns the frame that gives what it is owed; may be empty."""
        owed = self._held.pop(stream_id, 0)
        if not owed:
            return b""
        return _UPDATE.pack(b"\x00\x00\x04", _WINDOW_UPDATE, 0, stream_id, owed)

    def sift(self, data: bytes) -> bytes:
        """What may go out of frames that the library wants to send."""
        if not self._held:
            return data
        kept = []
        start = at = 0
        while at < len(data):
            end = at + _HEAD + int.from_bytes(data[at : at + 3], "big")
            if data[at + _TYPE] == _WINDOW_UPDATE:
                *_, stream_id, credit = _UPDATE.unpack_from(data, at)
                if stream_id in self._held:
                    self._held[stream_id] += credit
                    kept.append(data[start:at])
                    start = end
            at = end
        kept.append(data[start:])
        return b"".join(kept)
