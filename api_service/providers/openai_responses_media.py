"""OpenAI Responses: media of the contract <-> content of the wire."""

from __future__ import annotations

import base64
import binascii

from api_service.providers.json_text import JsonObject, dump_json, text_of
from api_service.providers.media_kind import media_address, media_kind
from api_service.providers.openai_responses_state import IMAGE_KEYS, read_state, state_of
from api_service.providers.table import ProviderRow
from api_service.providers.unsupported import Refusals
from marsys.v1 import MediaDetail, MediaPart, Part
from serving.errors import invalid

_DETAILS = {
    MediaDetail.MEDIA_DETAIL_LOW: "low",
    MediaDetail.MEDIA_DETAIL_HIGH: "high",
}
_IMAGE_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}


def media_content(
    media: MediaPart, path: str, row: ProviderRow, refusals: Refusals
) -> JsonObject | None:
    """An input_image or input_file; None where the media is left out.

    Raises:
        ServiceError: the provider does not take it.
    """
    kind, source = media_kind(media), media.WhichOneof("source")
    if kind not in row.media:
        refusals.refuse(path, f"{row.name} takes no {kind} content")
        return None
    if kind == "image":
        item: JsonObject = {"type": "input_image", "detail": _DETAILS.get(media.detail, "auto")}
        key = "file_id" if source == "file_id" else "image_url"
        item[key] = media.file_id if source == "file_id" else media_address(media)
        return item
    if source == "file_id":
        return {"type": "input_file", "file_id": media.file_id}
    if source == "uri" and not media.uri.startswith("data:"):
        return {"type": "input_file", "file_url": media.uri}
    name = media.filename or "document"
    return {"type": "input_file", "filename": name, "file_data": media_address(media)}


def image_part(item: JsonObject) -> Part | None:
    """The image that an image_generation_call made; None where it made none that can be read.

    The rest of the item is the part's opaque state.
    """
    try:
        data = base64.b64decode(text_of(item.get("result")), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not data:
        return None
    media_type = _IMAGE_TYPES.get(text_of(item.get("output_format")) or "png", "image/png")
    part = Part(media=MediaPart(media_type=media_type, data=data))
    rest = {key: value for key, value in item.items() if key not in IMAGE_KEYS}
    part.opaque_state.CopyFrom(state_of(rest))
    return part


def image_item(part: Part, path: str) -> str:
    """The image_generation_call that `image_part` made the part of, as JSON text.

    Raises:
        ServiceError: the part is none of those.
    """
    item = read_state(part.opaque_state)
    if item is None or item.get("type") != "image_generation_call" or not part.media.data:
        raise invalid(f"{path}.opaque_state.data", "is not what this service gave out")
    item["result"] = base64.b64encode(part.media.data).decode()
    return dump_json(item)
