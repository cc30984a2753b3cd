"""OpenAI Responses: usage."""

from __future__ import annotations

from api_service.providers.json_text import JsonObject, count_of, object_of
from marsys.v1 import Usage


def usage_of(usage: JsonObject) -> Usage:
    """The tokens that the provider counted; what it does not tell stays absent."""
    inputs = object_of(usage.get("input_tokens_details"))
    outputs = object_of(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=count_of(usage.get("input_tokens")),
        output_tokens=count_of(usage.get("output_tokens")),
        total_tokens=count_of(usage.get("total_tokens")),
        reasoning_tokens=count_of(outputs.get("reasoning_tokens")),
        cache_read_tokens=count_of(inputs.get("cached_tokens")),
        cache_write_tokens=count_of(inputs.get("cache_write_tokens")),
    )
