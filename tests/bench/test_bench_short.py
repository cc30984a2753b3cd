"""The short benchmark runs; what it measures is not asserted here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import Results

_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_bench_short(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--short", "--rounds", "1", "--seconds", "0.3",
         "--json", str(figures)],
        cwd=_ROOT,
        check=True,
        timeout=250,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    results = Results.read(figures)
    assert {"unary", "burst", "paced", "alone"} <= results.cases.keys()
    assert results.values("unary", "marsys", "cpu")[0] > 0
    assert results.ratio("burst", "marsys", "grpc_aiohttp") is not None
    assert results.startup["marsys"]["rss"][0] > 0
    assert "idle memory" in done.stdout
