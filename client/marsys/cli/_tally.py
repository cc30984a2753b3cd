"""Tokens, cost and time of answers, in one line."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

_ENDS = {
    "length": "cut off at the token limit",
    "content_filter": "withheld by a filter",
    "pause": "paused by the provider",
    "error": "the output could not be used",
    "other": "ended for an unknown reason",
}


class Tally:
    """Adds up the answers of one turn, or of a session. What is unknown is not shown as 0."""

    def __init__(self) -> None:
        self._usage: dict[str, int] = {}
        self._cost: float | None = None
        self._began = time.monotonic()
        self._last: Mapping[str, Any] = {}

    @property
    def cost(self) -> float | None:
        """US dollars; None where unknown."""
        return self._cost

    def add(self, response: Mapping[str, Any]) -> None:
        """Add an answer."""
        for name, count in response["usage"].items():
            self._usage[name] = self._usage.get(name, 0) + count
        if "cost" in response:
            self._cost = (self._cost or 0.0) + response["cost"]
        self._last = response

    def line(self, in_all: float | None = None) -> str:
        """The status line.

        Args:
            in_all: what the session has cost, in US dollars.
        """
        facts = [str(self._last.get("model", "")), self._tokens(), self._money(in_all)]
        facts.append(f"{time.monotonic() - self._began:.1f} s")
        facts.append(_ENDS.get(self._last.get("finish_reason", ""), ""))
        return " · ".join(fact for fact in facts if fact)

    def _tokens(self) -> str:
        usage = self._usage
        facts = []
        if "prompt_tokens" in usage:
            cached = usage.get("cached_tokens")
            facts.append(
                f"{usage['prompt_tokens']} tokens in" + (f" ({cached} cached)" if cached else "")
            )
        if "completion_tokens" in usage:
            thought = usage.get("reasoning_tokens")
            facts.append(
                f"{usage['completion_tokens']} out" + (f" ({thought} thinking)" if thought else "")
            )
        return ", ".join(facts)

    def _money(self, in_all: float | None) -> str:
        if self._cost is None:
            return ""
        own, whole = money(self._cost), money(in_all or 0.0)
        return own if in_all is None or own == whole else f"{own} ({whole} in all)"


def money(dollars: float) -> str:
    """An amount, with two digits that say something at least: $12.35, $0.12, $0.0012, $0."""
    if dollars <= 0:
        return "$0"
    digits = 2 if dollars >= 0.1 else 1 - math.floor(math.log10(dollars))
    return f"${dollars:.{digits}f}"
