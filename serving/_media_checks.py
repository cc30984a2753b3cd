"""Media in requests: a source, a type, and bytes that are what the type says."""

from __future__ import annotations

import base64
import binascii
import re

from marsys.v1 import MediaPart
from serving.errors import invalid

_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+", re.IGNORECASE)
_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<base64>;base64)?,", re.IGNORECASE)
_HEAD = 48  # base64 characters that are looked at: 36 bytes tell every type below


def check_media(media: MediaPart, path: str) -> None:
    """Check a media part.

    Raises:
        ServiceError: no source is set, the type is missing, the URL's scheme is not known, or an
            image's bytes are not of its type.
    """
    source = media.WhichOneof("source")
    if source is None:
        raise invalid(path, "data, uri or file_id must be set")
    if media.media_type and not _TYPE.fullmatch(media.media_type):
        raise invalid(f"{path}.media_type", "must be a media type such as image/png")
    if source == "data":
        if not media.media_type:
            raise invalid(f"{path}.media_type", "must be set with data")
        if not media.data:
            raise invalid(f"{path}.data", "must not be empty")
        _check_bytes(media.media_type, media.data[:36], f"{path}.data")
    elif source == "uri":
        _check_uri(media.uri, f"{path}.uri")
    elif not media.file_id:
        raise invalid(f"{path}.file_id", "must not be empty")


def _check_uri(uri: str, path: str) -> None:
    if uri.startswith(("https://", "http://", "file:")):
        return
    if uri[:5].lower() != "data:":
        raise invalid(path, "must be a data:, https: or file: URL")
    match = _DATA_URL.match(uri)
    if match is None or not _TYPE.fullmatch(match["type"]) or len(uri) == match.end():
        raise invalid(path, "is no readable data: URL")
    if match["base64"]:
        # Only the head is decoded: a scan of every image would cost more than the call.
        head = uri[match.end() : match.end() + _HEAD]
        try:
            start = base64.b64decode(head + "=" * (-len(head) % 4), validate=True)
        except binascii.Error:
            raise invalid(path, "is no readable data: URL: its base64 is broken") from None
        _check_bytes(match["type"], start, path)


def _check_bytes(media_type: str, start: bytes, path: str) -> None:
    kind = media_type.lower()
    known = {
        "image/png": start.startswith(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg": start.startswith(b"\xff\xd8\xff"),
        "image/jpg": start.startswith(b"\xff\xd8\xff"),
        "image/gif": start.startswith((b"GIF87a", b"GIF89a")),
        "image/webp": start[:4] == b"RIFF" and start[8:12] == b"WEBP",
        "application/pdf": b"%PDF-" in start,
    }
    if not known.get(kind, True):
        raise invalid(path, f"the bytes are no {kind}")
