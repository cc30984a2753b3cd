"""Paired runs: every system in turn, round after round."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.cases import Case
from bench.figures import percentile
from bench.peers import Measured, Subject


@dataclass
class Rounds:
    """What one system showed in one case; a value for each round.

    Attributes:
        cpu: CPU microseconds a unit.
        p50: median latency of calls, in ms.
        p99: the same, 99th percentile.
        first: median time to the first text, in ms.
        rate: calls a second.
        calls: calls of each round.
        failed: why there are no values.
    """

    cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    calls: int = 0
    failed: str = ""

    def add(self, case: Case, measured: Measured) -> None:
        loaded = measured.loaded
        calls = len(loaded.took)
        self.cpu.append(measured.cpu / (calls * case.units) * 1e6)
        self.p50.append(percentile(loaded.took, 50) * 1e3)
        self.p99.append(percentile(loaded.took, 99) * 1e3)
        self.first.append(percentile(loaded.first, 50) * 1e3)
        self.rate.append(calls / loaded.wall)
        self.calls = calls


def measure(
    case: Case,
    subjects: Mapping[str, Subject],
    rounds: int,
    seconds: float,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, Rounds]:
    """Measure systems in one case.

    A first run of each, which doesn't count, warms it up and finds how many calls fill a round.

    Args:
        case: what is asked.
        subjects: the systems that run, by key.
        rounds: how often each is measured.
        seconds: how long one measurement takes, about. A paced stream is never cut short.
        say: is told of the progress.
    """
    found = {key: Rounds() for key in subjects}
    for key, subject in subjects.items():
        calls = 2 * case.concurrency
        try:
            for _ in range(2):
                measured = _run(case, subject, calls)
                calls = fill(case, len(measured.loaded.took) / measured.loaded.wall, seconds)
                found[key].calls = calls
        except RuntimeError as error:
            found[key].failed = str(error)
            reason = str(error).partition("\n")[0]
            say(f"  {key} fails: {reason}")
    keys = [key for key in subjects if not found[key].failed]
    for number in range(rounds):
        for key in _turned(keys, number):
            found[key].add(case, _run(case, subjects[key], found[key].calls))
    for key in keys:
        values = found[key]
        cpu, p50, p99, rate = (
            percentile(one, 50) for one in (values.cpu, values.p50, values.p99, values.rate)
        )
        say(
            f"  {key:<24} {cpu:>8.1f} µs/{case.unit}  p50 {p50:>7.2f} ms  p99 {p99:>7.2f} ms  "
            f"{rate:>7.0f} calls/s  ({values.calls} calls a round)"
        )
    return found


def fill(case: Case, rate: float, seconds: float) -> int:
    """How many calls fill a round: a multiple of the callers, so that none idles at the end."""
    turns = max(round(rate * seconds / case.concurrency), 1 if case.stream else 2)
    return min(turns, 200_000 // case.concurrency) * case.concurrency


def _run(case: Case, subject: Subject, calls: int) -> Measured:
    time.sleep(0.05)  # what the last run left behind ends
    return subject.run(case.way, case.stream, case.concurrency, calls, case.connections)


def _turned(keys: Sequence[str], number: int) -> list[str]:
    """Each round begins with another system."""
    start = number % max(len(keys), 1)
    return [*keys[start:], *keys[:start]]
