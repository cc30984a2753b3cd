"""Statistics over measurements."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values don't exceed (nearest rank)."""
    if not values:
        raise ValueError("there are no values")
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]


@dataclass(frozen=True)
class Spread:
    """The median of rounds, with the least and the most of them."""

    median: float
    least: float
    most: float

    def as_json(self) -> dict[str, float]:
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()}


def spread(values: Sequence[float]) -> Spread:
    """Of one figure in several rounds."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """How one system's figure stands to another's, round by round: what disturbs a round disturbs
    both.

    Raises:
        ValueError: they have different numbers of rounds.
    """
    return spread([one / max(other, 1e-12) for one, other in zip(of, to, strict=True)])


def in_words(value: float) -> str:
    """Three digits; all that stand before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
