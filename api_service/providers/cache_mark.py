"""Cache marks: Anthropic's, which OpenRouter takes for models of several vendors, and OpenAI's."""

from __future__ import annotations

from api_service.providers.json_text import JsonObject
from marsys.v1 import CacheBreakpoint
from serving.errors import invalid

_TTLS = {300: "5m", 3600: "1h"}
_OPENAI_TTLS = {1800: "30m", 43200: "12h"}


def cache_control(mark: CacheBreakpoint, path: str) -> JsonObject:
    """The value of `cache_control`.

    Raises:
        ServiceError: the time is none of those that are taken.
    """
    if not mark.HasField("ttl"):
        return {"type": "ephemeral"}
    ttl = _TTLS.get(mark.ttl.ToSeconds())
    if ttl is None:
        raise invalid(f"{path}.ttl", "must be 300 s or 3600 s")
    return {"type": "ephemeral", "ttl": ttl}


def cache_point(mark: CacheBreakpoint, path: str) -> JsonObject:
    """The value of `prompt_cache_breakpoint`.

    Raises:
        ServiceError: the time is none of those that are taken.
    """
    point: JsonObject = {"mode": "explicit"}
    if mark.HasField("ttl"):
        ttl = _OPENAI_TTLS.get(mark.ttl.ToSeconds())
        if ttl is None:
            raise invalid(f"{path}.ttl", "must be 1800 s or 43200 s")
        point["ttl"] = ttl
    return point
