"""Headers <-> metadata, deadlines and statuses, as gRPC puts them into HTTP/2."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from urllib.parse import quote

import grpc

Header = tuple[bytes, bytes]
Metadata = tuple[tuple[str, str | bytes], ...]

CONTENT_TYPE = (b"content-type", b"application/grpc")

_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# Headers that are the transport's own.
_HIDDEN = frozenset({"te", "content-type", "grpc-timeout", "grpc-encoding", "host"})
_UNESCAPED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class BadHeaderError(Exception):
    """A header can't be read."""


def timeout_of(text: str) -> float:
    """Seconds that a `grpc-timeout` gives.

    Raises:
        BadHeaderError: it is none.
    """
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise BadHeaderError(f"grpc-timeout: {text!r} is no time")
    return int(found[1]) * _SECONDS[found[2]]


def metadata_of(headers: Iterable[Header]) -> Metadata:
    """A caller's metadata.

    Raises:
        BadHeaderError: a value in "-bin" is no base64, or a name or value is no ASCII.
    """
    metadata: list[tuple[str, str | bytes]] = []
    try:
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("ascii")
            if name in _HIDDEN:
                continue
            if name.endswith("-bin"):
                metadata += [(name, _unpacked(part)) for part in value.split(",")]
            else:
                metadata.append((name, value))
    except (UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise BadHeaderError(f"a header can't be read: {error}") from None
    return tuple(metadata)


def trailers_of(
    code: grpc.StatusCode, details: str = "", extra: Iterable[tuple[str, str | bytes]] = ()
) -> list[Header]:
    """The trailers that end a call with a status."""
    trailers = [(b"grpc-status", str(code.value[0]).encode())]
    if details:
        trailers.append((b"grpc-message", quote(details, safe=_UNESCAPED).encode()))
    for name, value in extra or ():
        if isinstance(value, bytes):
            packed = base64.b64encode(value).rstrip(b"=")
            trailers.append((name.encode(), packed))
        else:
            trailers.append((name.encode(), value.encode()))
    return trailers


def _unpacked(text: str) -> bytes:
    text = text.strip()
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
