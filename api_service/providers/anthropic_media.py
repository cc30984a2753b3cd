"""Anthropic Messages: media of the contract -> image and document blocks."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes, urlsplit

from api_service.providers.json_text import JsonObject
from marsys.v1 import MediaPart
from serving.errors import invalid

FILES_BETA = "files-api-2025-04-14"
"""Beta that files of the Files API need."""

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
# Documents that are text go as plain text, the only kind of text that is taken.
_TEXTS = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")


def media_block(media: MediaPart, path: str) -> JsonObject | None:
    """The media as a block; None where it is of a kind that Anthropic doesn't take.

    Raises:
        ServiceError: a data: URL or a text can't be read.
    """
    media_type = _plain(media.media_type)
    source = media.WhichOneof("source")
    if source == "file_id":
        kind = "image" if media_type.startswith("image/") else "document"
        return _named({"type": kind, "source": {"type": "file", "file_id": media.file_id}}, media)
    if source == "uri" and media.uri[:5].lower() != "data:":
        return _at_address(media, media_type)
    if source == "uri":
        given, data = _read_data_url(media.uri, f"{path}.uri")
        media_type = media_type or given
    else:
        data = media.data
    if media_type in _IMAGES:
        return {"type": "image", "source": _base64(media_type, data)}
    if media_type == _PDF:
        return _named({"type": "document", "source": _base64(media_type, data)}, media)
    if media_type.startswith(_TEXTS):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise invalid(path, "must be UTF-8, as a text is") from None
        source_item = {"type": "text", "media_type": "text/plain", "data": text}
        return _named({"type": "document", "source": source_item}, media)
    return None


def _at_address(media: MediaPart, media_type: str) -> JsonObject | None:
    """Anthropic fetches images and PDF documents."""
    source = {"type": "url", "url": media.uri}
    by_name = not media_type and urlsplit(media.uri).path.lower().endswith(".pdf")
    if media_type == _PDF or by_name:
        return _named({"type": "document", "source": source}, media)
    if not media_type or media_type.startswith("image/"):
        return {"type": "image", "source": source}
    return None


def _named(block: JsonObject, media: MediaPart) -> JsonObject:
    if media.filename and block["type"] == "document":
        block["title"] = media.filename
    return block


def _base64(media_type: str, data: bytes) -> JsonObject:
    return {
        "type": "base64",
        "media_type": media_type,
        "data": base64.b64encode(data).decode(),
    }


def _plain(media_type: str) -> str:
    """A media type without parameters; the wrong but common image/jpg is image/jpeg."""
    kind = media_type.partition(";")[0].strip().lower()
    return "image/jpeg" if kind == "image/jpg" else kind


def _read_data_url(uri: str, path: str) -> tuple[str, bytes]:
    """Media type and bytes."""
    head, comma, text = uri.partition(",")
    kind, *parameters = head[5:].split(";")
    data = unquote_to_bytes(text)
    if any(parameter.strip().lower() == "base64" for parameter in parameters):
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise invalid(path, "is no base64 data") from None
    if not comma or not kind:
        raise invalid(path, "must name its media type")
    return _plain(kind), data
