"""Finds the parameter that a provider refuses in what it says about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from api_service.providers.table import ProviderRow

_REFUSAL = re.compile(
    r"unsupported|not (?:currently )?(?:supported|permitted|allowed|enabled|available)"
    r"|does(?:n't| not) (?:support|accept|take)|deprecated|cannot both"
    r"|can(?:'t|not) be (?:set|used)"
    r"|unrecognized|unknown (?:parameter|name|field)|unexpected (?:keyword|field|parameter)",
    re.IGNORECASE,
)
_REASONING = (
    "reasoning_effort",
    "reasoning.effort",
    "reasoning",
    "thinking",
    "thinking_budget",
    "thinking_level",
    "thinking_config",
    "output_config.effort",
    "budget_tokens",
    "effort",
)


def refused_field(row: ProviderRow, message: str) -> str:
    """The field of the request that the message refuses, such as "config.top_k"; else empty.

    Args:
        row: the provider.
        message: its words for a request that it calls wrong.
    """
    if not _REFUSAL.search(message):
        return ""
    match = _names(row).search(message)
    if match is None:
        return ""
    return _fields(row)[_plain(match[0])]


def _plain(name: str) -> str:
    """A name without what spellings differ in: reasoning_effort, reasoningEffort."""
    return re.sub(r"[_ ]", "", name).lower()


@lru_cache(maxsize=64)
def _spellings(row_name: str, wires: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    fields = {_plain(name): "config.reasoning" for name in _REASONING}
    for field, wire in wires:
        for name in (field, wire):
            fields[_plain(name)] = f"config.{field}"
    return fields


def _fields(row: ProviderRow) -> Mapping[str, str]:
    return _spellings(row.name, tuple(row.fields.items()))


def _names(row: ProviderRow) -> re.Pattern[str]:
    return _pattern(tuple(sorted(_fields(row), key=len, reverse=True)))


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    spelled = "|".join("[_ ]?".join(map(re.escape, name)) for name in names)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{spelled})(?![A-Za-z0-9])", re.IGNORECASE)
