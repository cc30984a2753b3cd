"""OpenAI: of what kind a medium is, and its address."""

from __future__ import annotations

import base64

from marsys.v1 import MediaPart


def media_kind(media: MediaPart) -> str:
    """ "image", "audio", "video" or "file"; what is given by an address only is an image."""
    media_type = media.media_type
    if not media_type and media.WhichOneof("source") == "uri" and media.uri.startswith("data:"):
        media_type = media.uri[5:].partition(";")[0].partition(",")[0]
    if not media_type:
        return "file" if media.WhichOneof("source") == "file_id" else "image"
    kind = media_type.partition("/")[0].lower()
    return kind if kind in ("image", "audio", "video") else "file"


def media_address(media: MediaPart) -> str:
    """The media as a URL: the caller's, or a data: URL of the bytes."""
    if media.WhichOneof("source") == "uri":
        return media.uri
    return f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"
