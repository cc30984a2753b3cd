"""Google generateContent: usage."""

from __future__ import annotations

from api_service.providers.json_text import JsonObject, count_of
from marsys.v1 import Usage

_MOST = 2**63 - 1


def usage_of(usage: JsonObject) -> Usage:
    """The tokens that Google counted; what it does not tell stays absent.

    What server-side tools put into the prompt counts as input, thoughts count as output.
    """
    inputs = _sum(usage, "promptTokenCount", "toolUsePromptTokenCount")
    outputs = _sum(usage, "candidatesTokenCount", "thoughtsTokenCount")
    total = count_of(usage.get("totalTokenCount"))
    if outputs is None and inputs is not None and total is not None and total >= inputs:
        outputs = total - inputs
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        total_tokens=total,
        reasoning_tokens=count_of(usage.get("thoughtsTokenCount")),
        cache_read_tokens=count_of(usage.get("cachedContentTokenCount")),
    )


def _sum(usage: JsonObject, *keys: str) -> int | None:
    counts = [count for key in keys if (count := count_of(usage.get(key))) is not None]
    return min(sum(counts), _MOST) if counts else None
