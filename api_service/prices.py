"""What an answer cost, by the price list of the genai-prices package."""

from __future__ import annotations

import importlib.metadata
import time
from dataclasses import dataclass
from functools import lru_cache

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from marsys.v1 import Cost, CostSource, Usage

_VERSION = f"genai-prices {importlib.metadata.version('genai-prices')}"
_FRESH = 600.0  # seconds that a price is kept: some change by the time of day
_MOST_NANO_USD = 2**63
_SMALL, _LARGE = 1_000, 4_000_000  # prices that agree at both don't depend on the length


@dataclass(frozen=True, slots=True)
class _Rates:
    """Prices of a model in 1e-9 US dollars a token."""

    input: float
    output: float
    cache_read: float
    cache_write: float


def cost_of(list_name: str, model: str, usage: Usage) -> Cost | None:
    """The price of an answer; None where the list doesn't know it.

    Args:
        list_name: what the list calls the provider; empty: it doesn't know it.
        model: the model's name at the provider.
        usage: the tokens. Where input or output is unknown, so is the price.
    """
    counted = usage.HasField("input_tokens") and usage.HasField("output_tokens")
    if not list_name or not counted:
        return None
    rates = _rates(list_name, model, int(time.time() / _FRESH))
    if rates is None:
        return None
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    if isinstance(rates, _Rates):
        nano_usd = (
            max(0, usage.input_tokens - read - written) * rates.input
            + usage.output_tokens * rates.output
            + read * rates.cache_read
            + written * rates.cache_write
        )
    else:
        nano_usd = _listed(
            list_name,
            model,
            input_tokens=max(usage.input_tokens, read + written),
            output_tokens=usage.output_tokens,
            cache_read_tokens=read,
            cache_write_tokens=written,
        )
    if nano_usd >= _MOST_NANO_USD:
        return None
    return Cost(
        nano_usd=round(nano_usd),
        source=CostSource.COST_SOURCE_PRICE_LIST,
        price_list_version=_VERSION,
    )


@lru_cache(maxsize=4096)
def _rates(list_name: str, model: str, period: int) -> _Rates | str | None:
    """Rates; "varying" where they depend on the length; None where the list knows no such model.

    The list takes 50 microseconds to price an answer, rates next to none.
    """
    try:
        small, large = (_probe(list_name, model, size) for size in (_SMALL, _LARGE))
    except LookupError:
        return None
    return small if small == large else "varying"


def _probe(list_name: str, model: str, size: int) -> _Rates:
    def rate(**tokens: int) -> float:
        return round(_listed(list_name, model, **tokens) / size, 6)

    return _Rates(
        input=rate(input_tokens=size),
        output=rate(output_tokens=size),
        cache_read=rate(input_tokens=size, cache_read_tokens=size),
        cache_write=rate(input_tokens=size, cache_write_tokens=size),
    )


def _listed(list_name: str, model: str, **tokens: int) -> float:
    """The price in 1e-9 US dollars, as the list itself reckons it."""
    price = calc_price(PricedUsage(**tokens), model_ref=model, provider_id=list_name)
    return float(price.total_price) * 1e9
