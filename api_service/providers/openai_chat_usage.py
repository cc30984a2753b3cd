"""OpenAI Chat Completions: usage and cost."""

from __future__ import annotations

import math

from api_service.providers.json_text import JsonObject, count_of, object_of
from marsys.v1 import Cost, CostSource, Usage

_TICKS_PER_NANO_USD = 10  # xAI counts in 1e-10 US dollars
_MOST_NANO_USD = 2**63 - 1


def usage_of(usage: JsonObject) -> Usage:
    """The tokens that the provider counted; what it does not tell stays absent."""
    prompt = count_of(usage.get("prompt_tokens"))
    output = count_of(usage.get("completion_tokens"))
    total = count_of(usage.get("total_tokens"))
    inputs = object_of(usage.get("prompt_tokens_details"))
    outputs = object_of(usage.get("completion_tokens_details"))
    reasoning = count_of(outputs.get("reasoning_tokens"))
    if reasoning and None not in (prompt, output, total) and total == prompt + output + reasoning:  # type: ignore[operator]
        output = output + reasoning  # type: ignore[operator]  # xAI does not count it in
    cached = count_of(inputs.get("cached_tokens"))
    for other in ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"):
        if cached is None:
            cached = count_of(usage.get(other))
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        total_tokens=total,
        reasoning_tokens=reasoning,
        cache_read_tokens=cached,
        cache_write_tokens=count_of(inputs.get("cache_write_tokens")),
    )


def cost_of(usage: JsonObject) -> Cost | None:
    """The cost that the provider reported, if it did."""
    ticks = count_of(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return _cost(ticks / _TICKS_PER_NANO_USD)
    dollars = usage.get("cost")
    if isinstance(dollars, dict):  # Perplexity
        dollars = dollars.get("total_cost")
    if isinstance(dollars, int | float) and not isinstance(dollars, bool):
        return _cost(dollars * 1e9)
    return None


def _cost(nano_usd: float) -> Cost | None:
    if not math.isfinite(nano_usd) or not 0 <= nano_usd < _MOST_NANO_USD:
        return None
    return Cost(nano_usd=round(nano_usd), source=CostSource.COST_SOURCE_PROVIDER)
