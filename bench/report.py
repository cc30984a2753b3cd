"""docs/benchmarks.md and its plots, from the figures of a run.

The page is written by hand but for what stands between `<!-- measured: NAME -->` and
`<!-- end -->`, which a run replaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cases import ALONE, BURST, CASES, CROWD, PACED, UNARY, WORKERS
from bench.client import CLIENT_CASES
from bench.figures import Spread, in_words, ratios, spread
from bench.goals import GOALS
from bench.plot import Bar, chart
from bench.results import Results

_MARK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CPU_CASES = tuple(case for case in CASES if case not in (ALONE, CROWD))


def write(results: Results, folder: Path) -> None:
    """Write the tables into `benchmarks.md` of the folder, and the plots beside it.

    Raises:
        ValueError: the page has no place for a table, or a place that no table is for.
    """
    page = folder / "benchmarks.md"
    page.write_text(filled(page.read_text(), results))
    for name, text in plots(results).items():
        (folder / name).write_text(text)


def filled(page: str, results: Results) -> str:
    """The page with the figures of a run."""
    tables = {name: make(results) for name, make in _TABLES.items()}
    places = {found.group(2) for found in _MARK.finditer(page)}
    if places != set(tables):
        raise ValueError(f"places {sorted(places)} are not tables {sorted(tables)}")
    return _MARK.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n\n{found[3]}", page)


def plots(results: Results) -> dict[str, str]:
    """The plots, by file name."""
    found = {}
    for case, title in (
        (UNARY, "CPU of a call, 16 at once"),
        (BURST, "CPU of a chunk, burst streams"),
        (PACED, "CPU of a chunk, paced streams"),
    ):
        bars = [
            Bar(name, value.median, key == "marsys")
            for key, name in results.titles.items()
            if key != "upstream" and (value := results.spread(case.key, key, "cpu"))
        ]
        if bars:
            unit = f"µs/{case.unit}"
            found[f"benchmarks-{case.key}.svg"] = chart(title, unit, bars)
    return found


def _machine(results: Results) -> str:
    machine, settings = results.machine, results.settings
    lines = [
        f"Measured on {machine['date']}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory']}, {machine['kernel']}. {settings['rounds']:g} rounds of "
        f"{settings['seconds']:g} s each; figures are medians, with the least and the most in "
        "brackets where the noise matters.",
        "",
    ]
    lines += [
        f"- {results.titles[key]}: {versions}"
        for key, versions in results.versions.items()
        if versions and key in results.titles
    ]
    if results.missing:
        lines += ["", "Not measured:", ""]
        lines += [f"- {what}: {_one_line(why)}" for what, why in results.missing.items()]
    return "\n".join(lines)


def _goals(results: Results) -> str:
    rows = []
    for goal in GOALS:
        found = goal.measure(results)
        verdict = "-" if found is None else "yes" if goal.holds(found) else "**no**"
        wish = " (stretch)" if goal.stretch else ""
        rows.append([goal.title, goal.bound + wish, _between(found), verdict])
    return _table(["figure", "goal", "measured", "holds"], rows)


def _cpu(results: Results) -> str:
    rows = []
    for key, name in results.titles.items():
        cells = [_cell(results, case.key, key, "cpu") for case in _CPU_CASES]
        if any(cell != "-" for cell in cells):
            rows.append([name, *cells])
    heads = [f"{case.title}, µs/{case.unit}" for case in _CPU_CASES]
    return _table(["system", *heads], rows)


def _compared(results: Results) -> str:
    rows = []
    for key, name in results.titles.items():
        cells = [_between(results.ratio(case.key, key, "marsys")) for case in _CPU_CASES]
        if key != "marsys" and any(cell != "-" for cell in cells):
            rows.append([name, *cells])
    return _table(["system / marsys api_service", *(case.title for case in _CPU_CASES)], rows)


def _latency(results: Results) -> str:
    rows = []
    for key, name in results.titles.items():
        if not results.values(ALONE.key, key, "p50"):
            continue
        rows.append(
            [
                name,
                _figure(results.added(key)) if key != "upstream" else "0",
                _cell(results, ALONE.key, key, "p99"),
                *(_cell(results, UNARY.key, key, what) for what in ("p50", "p99")),
                *(_cell(results, CROWD.key, key, what) for what in ("p50", "p99", "rate")),
            ]
        )
    heads = ["added p50 at 1", "p99 at 1", "p50 at 16", "p99 at 16", "p50 at 64", "p99 at 64"]
    return _table(["system", *(f"{head}, ms" for head in heads), "calls/s at 64"], rows)


def _workers(results: Results) -> str:
    found = results.cases.get(WORKERS.key)
    if not found:
        return f"Not measured: {results.missing.get('workers', 'left out of this run')}."
    rows = [
        [
            results.titles[key],
            *(_cell(results, WORKERS.key, key, what) for what in ("rate", "cpu", "p50", "p99")),
        ]
        for key in found
    ]
    return _table([WORKERS.title, "calls/s", "CPU µs/call", "p50, ms", "p99, ms"], rows)


def _client(results: Results) -> str:
    rows = []
    for case in CLIENT_CASES:
        sides = results.client.get(case.key)
        if sides:
            medians = [_figure(spread(sides[who])) for who in ("client", "stub")]
            rows.append([case.title, *medians, _between(ratios(sides["client"], sides["stub"]))])
    return _table(["CPU µs", "client", "bare stub", "ratio"], rows)


def _startup(results: Results) -> str:
    rows = [
        [results.titles[key], _figure(spread(values["ready"])), _figure(spread(values["rss"]))]
        for key, values in results.startup.items()
        if values["ready"]
    ]
    return _table(["system", "start until the first answer, s", "idle memory, MB"], rows)


_TABLES: dict[str, Callable[[Results], str]] = {
    "machine": _machine,
    "goals": _goals,
    "cpu": _cpu,
    "compared": _compared,
    "latency": _latency,
    "workers": _workers,
    "client": _client,
    "startup": _startup,
}


def _cell(results: Results, case: str, peer: str, what: str) -> str:
    rounds = results.cases.get(case, {}).get(peer)
    if rounds is not None and rounds.failed:
        return "fails"
    return _figure(results.spread(case, peer, what))


def _figure(found: Spread | None) -> str:
    return "-" if found is None else in_words(found.median)


def _between(found: Spread | None) -> str:
    if found is None:
        return "-"
    return f"{in_words(found.median)} [{in_words(found.least)}, {in_words(found.most)}]"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]} ..."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
