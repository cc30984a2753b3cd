"""Google generateContent: grounding and citation metadata -> citations of text parts."""

from __future__ import annotations

from collections.abc import Sequence

from api_service.providers.json_text import JsonObject, count_of, list_of, object_of, text_of
from marsys.v1 import Citation

_MOST_INDEX = 2**31 - 1
_SOURCES = ("web", "retrievedContext", "maps", "image")


def grounding_citations(metadata: JsonObject, texts: Sequence[str]) -> list[tuple[int, Citation]]:
    """What `groundingMetadata` cites.

    Args:
        metadata: the block.
        texts: the text parts of the answer, at least one.

    Returns:
        Citations, each with the index of the text that it belongs to.
    """
    sources = [_source(chunk) for chunk in list_of(metadata.get("groundingChunks"))]
    found: list[tuple[int, Citation]] = []
    for support in map(object_of, list_of(metadata.get("groundingSupports"))):
        segment = object_of(support.get("segment"))
        index, start, end = _place(segment, texts)
        for number in list_of(support.get("groundingChunkIndices")):
            number = count_of(number)
            if number is None or number >= len(sources):
                continue
            citation = Citation()
            citation.CopyFrom(sources[number])
            _set_range(citation, start, end)
            found.append((index, citation))
    if not found:
        found = [(len(texts) - 1, source) for source in sources if source.uri or source.title]
    return found


def source_citations(metadata: JsonObject, texts: Sequence[str]) -> list[tuple[int, Citation]]:
    """What `citationMetadata` cites: sources from which the answer may recite."""
    sources = list_of(metadata.get("citationSources")) or list_of(metadata.get("citations"))
    found = []
    for source in map(object_of, sources):
        citation = Citation(uri=text_of(source.get("uri")), title=text_of(source.get("title")))
        index, start, end = _place(source, texts)
        _set_range(citation, start, end)
        if citation.uri or citation.title:
            found.append((index, citation))
    return found


def _source(chunk: object) -> Citation:
    for kind in _SOURCES:
        source = object_of(object_of(chunk).get(kind))
        if source:
            return Citation(
                uri=text_of(source.get("uri")) or text_of(source.get("sourceUri")),
                title=text_of(source.get("title")),
                cited_text=text_of(source.get("text")),
            )
    return Citation()


def _place(segment: JsonObject, texts: Sequence[str]) -> tuple[int, int, int]:
    """Where a segment stands: index of the text, start and end in code points; end 0: unknown.

    Google counts UTF-8 bytes, and leaves out parts that are no text.
    """
    words = text_of(segment.get("text"))
    start, end = count_of(segment.get("startIndex")) or 0, count_of(segment.get("endIndex")) or 0
    for index, text in enumerate(texts):
        data = text.encode()
        if not start < end <= len(data):
            continue
        piece = data[start:end].decode(errors="replace")
        if piece == words or (not words and len(texts) == 1):
            first = len(data[:start].decode(errors="replace"))
            return index, first, first + len(piece)
    if words:
        for index, text in enumerate(texts):
            at = text.find(words)
            if at >= 0:
                return index, at, at + len(words)
    return len(texts) - 1, 0, 0


def _set_range(citation: Citation, start: int, end: int) -> None:
    if start < end <= _MOST_INDEX:
        citation.start_index, citation.end_index = start, end
