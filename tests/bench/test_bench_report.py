"""The page keeps what is written by hand."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.plot import Bar, chart
from bench.report import filled, plots, write
from bench.results import Results
from bench.rounds import Rounds

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def results() -> Results:
    """Two systems, one of which fails at streams."""
    return Results(
        machine={"date": "2026-01-02", "cores": "2", "processor": "A & B", "memory": "1 GiB",
                 "kernel": "Linux 6"},
        settings={"rounds": 2, "seconds": 1.0},
        titles={"marsys": "marsys api_service", "litellm": "LiteLLM proxy"},
        versions={"litellm": "litellm 1.0"},
        cases={
            "unary": {"marsys": Rounds(cpu=[500.0, 520.0]), "litellm": Rounds(cpu=[16e3, 16e3])},
            "burst": {"marsys": Rounds(cpu=[10.0, 11.0]), "litellm": Rounds(failed="it\nbroke")},
        },
        missing={"litellm, burst": "it\nbroke"},
    )  # fmt: skip


def test_only_the_tables_change(results: Results) -> None:
    page = (_ROOT / "docs/benchmarks.md").read_text()
    once = filled(page, results)
    assert filled(once, results) == once
    assert "| LiteLLM proxy | 16000 | fails |" in once
    assert "| unary CPU: LiteLLM / marsys | at least 22x | 31.4 [30.8, 32] | yes |" in once
    assert "- litellm, burst: it broke" in once
    by_hand = [line for line in page.split("\n") if line.startswith(("#", "![", "`make"))]
    assert [line for line in once.split("\n") if line in by_hand] == by_hand


def test_a_table_without_a_place(results: Results) -> None:
    with pytest.raises(ValueError, match="are not tables"):
        filled("<!-- measured: goals -->\n<!-- end -->\n", results)


def test_files(results: Results, tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text((_ROOT / "docs/benchmarks.md").read_text())
    write(results, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "benchmarks.md", "benchmarks-unary.svg", "benchmarks-burst.svg",
    }  # fmt: skip


def test_plots_are_svg(results: Results) -> None:
    for text in plots(results).values():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_bars_are_as_long_as_their_logarithm() -> None:
    drawn = ElementTree.fromstring(chart("a < b", "µs", [Bar("x", 1000), Bar("y", 10, own=True)]))
    bars = [float(one.attrib["width"]) for one in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == [pytest.approx(140), pytest.approx(420)]
    with pytest.raises(ValueError, match="over 0"):
        chart("", "", [Bar("x", 0)])
