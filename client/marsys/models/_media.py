"""Images and files of a message -> media parts. What lies on this machine is read here."""

from __future__ import annotations

import base64
import binascii
import io
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from marsys.models._errors import invalid
from marsys.rpc.channel import MAX_MESSAGE_BYTES
from marsys.v1 import MediaDetail, MediaPart

_DETAILS = {
    "auto": MediaDetail.MEDIA_DETAIL_AUTO,
    "low": MediaDetail.MEDIA_DETAIL_LOW,
    "high": MediaDetail.MEDIA_DETAIL_HIGH,
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def image(source: Any, path: str, detail: Any = None) -> MediaPart:
    """A media part for an image.

    Args:
        source: data: URL, http(s) URL, file: URL, path, bytes, or an image object with `save`
            (PIL).
        path: where it stands in the request, for errors.
        detail: "auto", "low", "high" or None.

    Raises:
        ModelAPIError: it can't be read, or is larger than a request may be.
    """
    if detail is not None and detail not in _DETAILS:
        raise invalid(f"{path}.detail", "must be auto, low or high")
    media = _media(source, path)
    if media.media_type and not media.media_type.startswith("image/"):
        raise invalid(path, f"is no image but {media.media_type}")
    if detail is not None:
        media.detail = _DETAILS[detail]
    return media


def image_url(value: Any, path: str) -> MediaPart:
    """The value of an OpenAI `image_url` part: {"url", "detail"}, or the bare URL."""
    if not isinstance(value, Mapping):
        return image(value, path)
    if "url" not in value:
        raise invalid(f"{path}.url", "must be set")
    return image(value["url"], f"{path}.url", value.get("detail"))


def native_image(source: Any, path: str) -> MediaPart:
    """The `source` of an Anthropic image or document part: base64, url or file."""
    kind = source.get("type") if isinstance(source, Mapping) else None
    if kind == "base64":
        data = _decoded(source.get("data"), f"{path}.data")
        return MediaPart(media_type=str(source.get("media_type", "")), data=data)
    if kind == "url":
        return _media(source.get("url"), f"{path}.url")
    if kind == "file":
        return MediaPart(file_id=str(source.get("file_id", "")))
    raise invalid(path, "must be a base64, url or file source")


def audio(value: Any, path: str) -> MediaPart:
    """The value of an OpenAI `input_audio` part: {"data": base64, "format": "wav" or "mp3"}."""
    if not isinstance(value, Mapping):
        raise invalid(path, "must be an object with data and format")
    form = str(value.get("format", "wav"))
    data = _decoded(value.get("data"), f"{path}.data")
    return MediaPart(media_type=f"audio/{ {'mp3': 'mpeg'}.get(form, form) }", data=data)


def file(value: Any, path: str) -> MediaPart:
    """The value of an OpenAI `file` part: {"file_data" or "file_id", "filename"}."""
    if not isinstance(value, Mapping):
        raise invalid(path, "must be an object with file_data or file_id")
    if value.get("file_id"):
        media = MediaPart(file_id=str(value["file_id"]))
    elif value.get("file_data"):
        media = _media(value["file_data"], f"{path}.file_data")
    else:
        raise invalid(path, "must have file_data or file_id")
    media.filename = str(value.get("filename") or "")
    return media


def _media(source: Any, path: str) -> MediaPart:
    if isinstance(source, str):
        if source[:5].lower() == "data:":
            return _from_data_url(source, path)
        if source[:8].lower().startswith(("https://", "http://")):
            return MediaPart(uri=source)
        if source[:7].lower() == "file://":
            return _from_file(Path(url2pathname(urlsplit(source).path)), path)
        return _from_file(Path(source), path)
    if isinstance(source, Path):
        return _from_file(source, path)
    if isinstance(source, (bytes, bytearray)):
        return MediaPart(media_type=_type_of(bytes(source), "", path), data=bytes(source))
    if hasattr(source, "save"):
        buffer = io.BytesIO()
        source.save(buffer, format="PNG")
        return MediaPart(media_type="image/png", data=buffer.getvalue())
    raise invalid(path, f"must be a URL, a path or bytes, not {type(source).__name__}")


def _from_data_url(url: str, path: str) -> MediaPart:
    head, comma, body = url.partition(",")
    fields = head[5:].split(";")
    if not comma:
        raise invalid(path, "is no readable data: URL")
    data = _decoded(body, path) if "base64" in fields[1:] else unquote_to_bytes(body)
    return MediaPart(media_type=fields[0].lower() or _type_of(data, "", path), data=data)


def _from_file(place: Path, path: str) -> MediaPart:
    place = place.expanduser()
    shown = repr(str(place)[:200])
    try:
        if not place.is_file():
            raise invalid(path, f"no such file: {shown}")
        if place.stat().st_size > MAX_MESSAGE_BYTES:
            raise invalid(
                path, "is larger than a request may be (64 MiB)", classification="request_too_large"
            )
        data = place.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise invalid(path, f"can't read {shown}: {reason}") from None
    if not data:
        raise invalid(path, f"the file is empty: {shown}")
    return MediaPart(media_type=_type_of(data, place.name, path), data=data)


def _type_of(data: bytes, name: str, path: str) -> str:
    """Media type by the bytes' own signature, else by the file's name."""
    for start, media_type in _MAGIC:
        if data.startswith(start):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    guessed = mimetypes.guess_type(name)[0]
    if guessed is None:
        raise invalid(path, "its media type can't be told; give a data: URL with one")
    return guessed


def _decoded(text: Any, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise invalid(path, "is no valid base64") from None
