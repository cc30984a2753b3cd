"""OpenAI Responses: annotations of texts -> citations."""

from __future__ import annotations

from api_service.providers.json_text import JsonObject, count_of, text_of
from marsys.v1 import Citation

_MOST_INDEX = 2**31 - 1
# Kinds of which a citation says all that there is to say.
_PLAIN = frozenset({"url_citation"})
_SOURCES = _PLAIN | {"file_citation", "container_file_citation"}


def citation_of(annotation: JsonObject) -> Citation | None:
    """The source that an annotation names, or None where it names none."""
    if annotation.get("type") not in _SOURCES:
        return None
    citation = Citation(
        uri=text_of(annotation.get("url")),
        title=text_of(annotation.get("title")) or text_of(annotation.get("filename")),
    )
    start, end = count_of(annotation.get("start_index")), count_of(annotation.get("end_index"))
    if start is not None and end is not None and start <= end <= _MOST_INDEX and end > 0:
        citation.start_index, citation.end_index = start, end
    return citation


def says_more(annotation: JsonObject) -> bool:
    """Whether an annotation holds what no citation has words for, such as the id of a file."""
    return annotation.get("type") not in _PLAIN
