"""The short run's words: the ratios now, beside those that are committed."""

from __future__ import annotations

from bench.figures import Spread
from bench.goals import GOALS
from bench.results import Results

_RATIOS = (
    ("alone", "grpc_aiohttp"),
    ("burst", "grpc_aiohttp"),
    ("burst", "grpc_aiohttp_coalesced"),
    ("paced", "grpc_aiohttp"),
)
_HEAD = f"{'':<64} {'now':>7} {'spread':>16} {'committed':>10} {'change':>8}"


def compared(now: Results, committed: Results | None) -> str:
    """A table: CPU time of api_service in comparison to the minimal relays, and what of the goals
    was measured. A change says how much more (+) or less (-) the figure is than the committed one.
    """
    lines = [_HEAD]
    for case, relay in _RATIOS:
        then = committed.ratio(case, "marsys", relay) if committed else None
        title = f"CPU, {case}: marsys / {now.titles.get(relay, relay)}"
        lines += _line(title, now.ratio(case, "marsys", relay), then)
    for goal in GOALS:
        then = goal.measure(committed) if committed else None
        lines += _line(f"{goal.title} ({goal.bound})", goal.measure(now), then)
    return "\n".join(lines)


def _line(title: str, now: Spread | None, then: Spread | None) -> list[str]:
    if now is None:
        return []
    committed = f"{then.median:.3g}" if then else "-"
    change = f"{now.median / then.median - 1:+.0%}" if then and then.median else "-"
    between = f"[{now.least:.3g}, {now.most:.3g}]"
    return [f"{title:<64} {now.median:>7.3g} {between:>16} {committed:>10} {change:>8}"]
