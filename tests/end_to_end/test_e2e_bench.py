"""The benchmark runs; what it measures is not asserted here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="the fake provider needs a C compiler")
def test_bench_api(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, "bench/api.py", "--rounds", "1", "--quick", "--json", figures],
        cwd=ROOT,
        check=True,
        timeout=250,
    )
    rows = {row["case"]: row for row in json.loads(figures.read_text())}
    assert {"unary", "burst", "paced", "memory"} <= rows.keys()
    assert rows["unary"]["service_cpu"] > 0
    assert rows["burst"]["relay_cpu"] > 0
