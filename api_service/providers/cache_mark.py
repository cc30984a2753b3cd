"""Cache marks as Anthropic takes them, and OpenRouter for models of several vendors."""

from __future__ import annotations

from api_service.providers.json_text import JsonObject
from marsys.v1 import CacheBreakpoint
from serving.errors import invalid

_TTLS = {300: "5m", 3600: "1h"}


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
