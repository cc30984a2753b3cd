"""OpenAI Chat Completions: citations and images in answers."""

from __future__ import annotations

import base64
import binascii

from api_service.providers.json_text import count_of, object_of, text_of
from marsys.v1 import Citation, MediaPart, Part

_MOST_INDEX = 2**31 - 1


def citation_of(annotation: object) -> Citation | None:
    """The source that an annotation names, or None where it is of another kind."""
    item = object_of(annotation)
    if item.get("type") != "url_citation":
        return None
    source = object_of(item.get("url_citation")) or item
    citation = Citation(
        uri=text_of(source.get("url")),
        title=text_of(source.get("title")),
        cited_text=text_of(source.get("content")),
    )
    start, end = count_of(source.get("start_index")), count_of(source.get("end_index"))
    if start is not None and end is not None and start <= end <= _MOST_INDEX and end > 0:
        citation.start_index, citation.end_index = start, end
    return citation


def image_of(item: object) -> Part | None:
    """An image such as {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}."""
    value = object_of(item)
    if value.get("type") != "image_url":
        return None
    url = text_of(object_of(value.get("image_url")).get("url"))
    if not url:
        return None
    head, comma, data = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64") and comma:
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return None
        media_type = head.removeprefix("data:").partition(";")[0]
        return Part(media=MediaPart(media_type=media_type, data=content))
    return Part(media=MediaPart(uri=url))
