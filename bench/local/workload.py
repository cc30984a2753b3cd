"""What is asked, and how an answer is timed."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple

EMBEDDED = "smollm2-135m-instruct"
_TOPICS = (
    "a lighthouse keeper", "the sea", "two old friends", "a clockmaker", "winter", "a lost letter",
    "the first train", "a garden", "an honest thief", "the night market", "a bridge", "rain",
)  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """What each side does.

    Attributes:
        model: the embedded model's name, or a directory.
        levels: how many requests at once.
        tokens: most tokens of an answer.
        dtype: type of the weights.
        most: the highest level.
    """

    model: str
    levels: tuple[int, ...]
    tokens: int
    dtype: str
    most: int

    def prompts(self, level: int) -> list[str]:
        """As many different prompts, whose answers are long."""
        return [
            f"Write a long story about {_TOPICS[number % len(_TOPICS)]}, part {number + level}."
            for number in range(level)
        ]

    def warm_up(self) -> list[str]:
        return [f"Tell me all about the number {number}." for number in range(2)]


class Figures(NamedTuple):
    """One side at one level.

    Attributes:
        rate: tokens a second, all requests together.
        first: milliseconds to the first token, the median request; None where it isn't told.
        between: milliseconds between two tokens, the mean of the median request.
    """

    rate: float
    first: float | None
    between: float | None

    def __str__(self) -> str:
        if self.first is None or self.between is None:
            return f"{self.rate:.1f}"
        return f"{self.rate:.1f} ({self.first:.0f}, {self.between:.0f})"


Side = Callable[[Workload], dict[int, Figures]]
"""Starts something, asks it at each level, stops it."""

Ask = Callable[[str], AsyncIterator[int]]
"""Asks for an answer; yields how many tokens have come, whenever some have."""


async def measure(ask: Ask, work: Workload) -> dict[int, Figures]:
    """Ask at each level, all requests of a level at once."""
    for prompt in work.warm_up():
        async for _ in ask(prompt):
            pass
    figures = {}
    for level in work.levels:
        begun = time.perf_counter()
        timed = await asyncio.gather(*(_timed(ask(prompt)) for prompt in work.prompts(level)))
        figures[level] = figures_of(timed, time.perf_counter() - begun)
    return figures


class Timed(NamedTuple):
    """One answer: tokens, seconds to the first of them and to the last."""

    tokens: int
    first: float
    last: float


def figures_of(answers: list[Timed], seconds: float) -> Figures:
    """Figures of answers that were asked for at once, and of the time that all took."""
    between = [(one.last - one.first) / (one.tokens - 1) for one in answers if one.tokens > 1]
    return Figures(
        sum(one.tokens for one in answers) / seconds,
        statistics.median(one.first for one in answers) * 1000,
        statistics.median(between) * 1000 if between else None,
    )


async def _timed(answer: AsyncIterator[int]) -> Timed:
    begun = time.perf_counter()
    tokens, first, last = 0, 0.0, 0.0
    async for so_far in answer:
        tokens, last = so_far, time.perf_counter() - begun
        first = first or last
    return Timed(tokens, first, last)
