"""CPU cost and latency of api_service beside its peers, in one run.

`python -m bench` measures everything and writes docs/benchmarks.md; `python -m bench --short`
compares the ratios to a minimal relay with the committed ones, in under three minutes, and never
fails for a figure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cases import CASES, SHORT_CASES
from bench.peers import HERE, PEERS, SERVICE
from bench.results import Results
from bench.suite import Plan, run

_ROOT = Path(__file__).parents[1]
_FIGURES = _ROOT / "docs/benchmarks.json"


def main() -> int:
    """Run the suite. Returns the process's exit status."""
    options = _arguments()
    if options.write_only:
        _write(Results.read(_FIGURES))
        return 0
    peers = [
        peer
        for peer in (HERE if options.short else PEERS)
        if not options.peers or peer.key in options.peers or peer is SERVICE
    ]
    plan = Plan(
        peers=peers,
        cases=[
            case
            for case in (SHORT_CASES if options.short else CASES)
            if not options.cases or case.key in options.cases
        ],
        rounds=options.rounds or (3 if options.short else 7),
        seconds=options.seconds or (1.0 if options.short else 2.0),
        client=not options.cases or "client" in options.cases,
        workers=not options.short and (not options.cases or "workers" in options.cases),
        installs=options.installs.absolute(),
    )
    try:
        results = run(plan)
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    from bench.short import compared

    print(compared(results, Results.read(_FIGURES) if _FIGURES.exists() else None))
    if options.json:
        results.write(options.json)
    if not options.short and not options.no_write:
        results.write(_FIGURES)
        _write(results)
    return 0


def _write(results: Results) -> None:
    from bench.report import write

    write(results, _ROOT / "docs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="what regressions show in")
    parser.add_argument("--rounds", type=int, help="measured rounds of each case (7; short: 3)")
    parser.add_argument("--seconds", type=float, help="of one measurement (2; short: 1)")
    parser.add_argument("--peers", nargs="+", help="only these", choices=[p.key for p in PEERS])
    parser.add_argument(
        "--cases",
        nargs="+",
        help="only these",
        choices=[*(c.key for c in CASES), "client", "workers"],
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument(
        "--no-write", action="store_true", help="leave docs/benchmarks.* as they are"
    )
    parser.add_argument(
        "--write-only", action="store_true", help="measure nothing, write the page from the figures"
    )
    parser.add_argument(
        "--installs", type=Path, default=_ROOT / ".bench", help="where peers are installed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
