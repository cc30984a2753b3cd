"""Messages in a stream of bytes: a flag, a length of four bytes, the message.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import struct
import zlib

_PREFIX = struct.Struct(">BI")


class FramingError(Exception):
    """What came is no series of messages."""


class TooLargeError(Exception):
    """A message is larger than the limit."""


def _too_large(size: int, limit: int) -> TooLargeError:
    # In the words of gRPC's own libraries, which clients know.
    return TooLargeError(f"Received message larger than max ({size} vs. {limit})")


def frame(message: bytes) -> bytes:
    """A message with its prefix, uncompressed."""
    return _PREFIX.pack(0, len(message)) + message


class FrameReader:
    """Cuts what comes into messages.

    Args:
        limit: most bytes of a message, uncompressed.
        encoding: how messages are compressed whose flag says so: "gzip", or "" where none may be.
    """

    def __init__(self, limit: int, encoding: str = "") -> None:
        self._limit = limit
        self._encoding = encoding
        self._bytes = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that end in what has come now.

        Raises:
            TooLargeError: a message is larger than the limit, as soon as its prefix says so.
            FramingError: a flag is unknown, or a message can't be uncompressed.
        """
        self._bytes += data
        messages = []
        start = 0
        while len(self._bytes) - start >= _PREFIX.size:
            flag, length = _PREFIX.unpack_from(self._bytes, start)
            if length > self._limit:
                raise _too_large(length, self._limit)
            end = start + _PREFIX.size + length
            if len(self._bytes) < end:
                break
            message = bytes(memoryview(self._bytes)[start + _PREFIX.size : end])
            messages.append(self._inflated(message) if flag else message)
            if flag > 1:
                raise FramingError(f"unknown flag {flag} of a message")
            start = end
        if start:
            del self._bytes[:start]
        return messages

    def _inflated(self, message: bytes) -> bytes:
        if self._encoding != "gzip":
            raise FramingError("a message is compressed, and no header says how")
        inflater = zlib.decompressobj(wbits=31)
        try:
            whole = inflater.decompress(message, self._limit + 1)
        except zlib.error as error:
            raise FramingError(f"a message can't be uncompressed: {error}") from None
        if len(whole) > self._limit or inflater.unconsumed_tail:
            raise _too_large(len(whole), self._limit)
        if not inflater.eof or inflater.unused_data:
            raise FramingError("a message can't be uncompressed: it is cut off, or too long")
        return whole
