"""The figures of a run, as JSON: what the tables, the plots and the goals are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Spread, ratios, spread
from bench.rounds import Rounds


@dataclass
class Results:
    """All that a run found. Lists hold a value for each round.

    Attributes:
        machine: what describes it.
        settings: rounds, and seconds of one measurement.
        titles: of the systems, by key, in the order of the tables.
        versions: of the systems, in words.
        cases: by case and system; see Rounds.
        client: CPU microseconds a unit by case and side; see bench.client.
        startup: by system: "ready" in seconds, "rss" in MB.
        missing: what could not be measured, and why.
    """

    machine: dict[str, str] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    cases: dict[str, dict[str, Rounds]] = field(default_factory=dict)
    client: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    startup: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def values(self, case: str, peer: str, what: str) -> list[float]:
        """One figure of one system in each round; empty where it was not measured."""
        rounds = self.cases.get(case, {}).get(peer)
        return [] if rounds is None else getattr(rounds, what)

    def spread(self, case: str, peer: str, what: str) -> Spread | None:
        values = self.values(case, peer, what)
        return spread(values) if values else None

    def ratio(self, case: str, of: str, to: str, what: str = "cpu") -> Spread | None:
        """How a figure of one system stands to another's; None where one was not measured."""
        pair = self.values(case, of, what), self.values(case, to, what)
        return ratios(*pair) if all(pair) else None

    def added(self, peer: str) -> Spread | None:
        """The median latency in ms that a system adds to the provider's, one call at a time."""
        pair = self.values("alone", peer, "p50"), self.values("alone", "upstream", "p50")
        if not all(pair):
            return None
        return spread([own - floor for own, floor in zip(*pair, strict=True)])

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Results:
        """Read what `write` wrote."""
        found = cls(**json.loads(file.read_text()))
        for peers in found.cases.values():
            for key, values in peers.items():
                peers[key] = Rounds(**values)  # type: ignore[arg-type]
        return found


def _rounded(value: Any) -> Any:
    """Four digits are more than the noise leaves."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(one) for one in value]
    return value
