"""Google generateContent: media of the contract <-> `inlineData` and `fileData`."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes, urlsplit

from api_service.providers.json_text import JsonObject, text_of
from marsys.v1 import MediaPart
from serving.errors import invalid

# Where files are that were uploaded to the Gemini API; a file is named by its whole address.
_FILES = "https://generativelanguage.googleapis.com/v1beta/files/"
_VIDEO_SITES = ("youtube.com", "youtu.be")
# Types of files by the end of their names. Google wants to be told.
_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp",
    "gif": "image/gif", "heic": "image/heic", "heif": "image/heif",
    "wav": "audio/wav", "mp3": "audio/mp3", "aac": "audio/aac", "ogg": "audio/ogg",
    "flac": "audio/flac", "aiff": "audio/aiff", "m4a": "audio/m4a",
    "mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mpeg": "video/mpeg",
    "mpg": "video/mpeg", "avi": "video/x-msvideo", "wmv": "video/wmv", "3gp": "video/3gpp",
    "pdf": "application/pdf", "txt": "text/plain", "html": "text/html", "htm": "text/html",
    "md": "text/markdown", "csv": "text/csv", "xml": "text/xml", "json": "application/json",
}  # fmt: skip


def media_item(media: MediaPart, path: str) -> JsonObject:
    """The media as a part of the wire, {"inlineData": ...} or {"fileData": ...}.

    Raises:
        ServiceError: a data: URL can't be read.
    """
    source = media.WhichOneof("source")
    if source == "data":
        return _inline(media.media_type, base64.b64encode(media.data).decode())
    if source == "uri" and media.uri[:5].lower() == "data:":
        return _from_data_url(media, f"{path}.uri")
    if source == "file_id":
        uri = media.file_id
        if "://" not in uri:
            uri = _FILES + uri.removeprefix("files/")
    else:
        uri = media.uri
    file: JsonObject = {"fileUri": uri}
    media_type = media.media_type or _guess(uri)
    if media_type:
        file["mimeType"] = media_type
    return {"fileData": file}


def media_part(inline: JsonObject) -> MediaPart | None:
    """The media of an answer's `inlineData`, or None where it can't be read."""
    try:
        data = base64.b64decode(text_of(inline.get("data")), validate=True)
    except (binascii.Error, ValueError):
        return None
    media_type = text_of(inline.get("mimeType"))
    return MediaPart(media_type=media_type, data=data) if data and media_type else None


def _inline(media_type: str, data: str) -> JsonObject:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _from_data_url(media: MediaPart, path: str) -> JsonObject:
    head, _, data = media.uri.partition(",")
    kind, *parameters = head[5:].split(";")
    if not any(parameter.strip().lower() == "base64" for parameter in parameters):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    elif "%" in data:
        data = unquote_to_bytes(data).decode("ascii", "replace")
    media_type = media.media_type or kind
    if not media_type:
        raise invalid(path, "must name its media type")
    return _inline(media_type, data)


def _guess(uri: str) -> str:
    """The type of what is at an address, by the address alone; empty: unknown."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if host.removeprefix("www.").removeprefix("m.") in _VIDEO_SITES:
        return "video/mp4"
    return _TYPES.get(parts.path.rpartition(".")[2].lower(), "")
