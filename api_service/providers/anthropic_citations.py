"""Anthropic Messages: citations -> the contract's."""

from __future__ import annotations

from api_service.providers.json_text import JsonObject, text_of
from marsys.v1 import Citation


def citation_of(citation: JsonObject) -> Citation:
    """The source that a citation names.

    Its positions are those of the source, not of the text, and are left to the opaque state.
    """
    return Citation(
        uri=text_of(citation.get("url")) or text_of(citation.get("source")),
        title=text_of(citation.get("title")) or text_of(citation.get("document_title")),
        cited_text=text_of(citation.get("cited_text")),
    )
