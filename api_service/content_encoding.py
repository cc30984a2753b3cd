"""Compressed answers, for providers that compress though they are asked not to. Bounded, no I/O."""

from __future__ import annotations

import zlib

_PIECE = 256 * 1024  # most bytes that come out at once
_GZIP = 31
_ZLIB = 15
_RAW = -15


class BadEncoding(Exception):
    """The bytes can't be decompressed."""


class Inflater:
    """Decompresses a body piece by piece, however much is in it.

    Args:
        encoding: the Content-Encoding, lower case.

    Raises:
        BadEncoding: it is an encoding that is not known.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BadEncoding(f"it is encoded as {encoding[:40]!r}, which was not asked for")
        self._bits = 0 if encoding == "deflate" else _GZIP
        self._stream = zlib.decompressobj(_GZIP)
        self._input = b""
        self._begun = False

    def feed(self, data: bytes) -> None:
        """More of the compressed bytes; only when `take` gave none."""
        if not self._begun:
            self._begun = True
            # "deflate" should have zlib's header, but some servers leave it out.
            bits = self._bits or (_ZLIB if data[0] & 0x0F == 8 else _RAW)
            self._stream = zlib.decompressobj(bits)
        self._input += data

    def take(self) -> bytes:
        """The next piece; empty where more must be fed first.

        Raises:
            BadEncoding: the bytes are not what the encoding says.
        """
        if not self._input and self._stream.eof:
            return b""
        try:
            piece = self._stream.decompress(self._input, _PIECE)
        except zlib.error:
            raise BadEncoding("it can't be decompressed") from None
        if self._stream.unused_data:
            raise BadEncoding("something follows its compressed bytes")
        self._input = self._stream.unconsumed_tail
        return piece

    def end(self) -> None:
        """No more bytes come.

        Raises:
            BadEncoding: the compressed bytes ended before their end.
        """
        if self._begun and not self._stream.eof:
            raise BadEncoding("its compressed bytes ended before their end")
