"""CPU cost of api_service beside a minimal relay, in one run: `python bench/api.py`.

Both relay the same fake provider, in turn, round after round; what counts is the ratio. The service
runs as an operator would run it, with all its checks on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cpu import cpu_seconds, rss_bytes  # noqa: E402
from upstream import upstream  # noqa: E402

CHUNKS, DELAY_MS = 100, 10
MOST_RATIO = 1.6


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        name: what the table calls it.
        way: how the fake provider writes streams.
        mode: "unary" or "stream".
        calls: calls of one round.
        concurrency: how many at once.
        metadata: what the relay is told.
        limit: most CPU time in comparison to the relay; None: for information.
    """

    name: str
    way: str
    mode: str
    calls: int
    concurrency: int = 16
    metadata: str = ""
    limit: float | None = None

    @property
    def units(self) -> int:
        """What the CPU time is divided by: calls, or chunks."""
        return self.calls * (CHUNKS if self.mode == "stream" else 1)


CASES = (
    Case("unary", "burst", "unary", 2000, limit=MOST_RATIO),
    Case("burst", "burst", "stream", 250, limit=MOST_RATIO),
    Case("burst, coalescing relay", "burst", "stream", 250, metadata="coalesce"),
    Case("burst, a chunk a write", "single", "stream", 250),
    Case("paced", "paced", "stream", 64, concurrency=32),
    Case("unary, one at a time", "burst", "unary", 1000, concurrency=1),
)


@dataclass(frozen=True)
class Round:
    """What one run of a case cost: CPU microseconds a unit, and the median latency in ms."""

    cpu: float
    p50: float


@contextmanager
def started(
    command: Sequence[str], address_file: Path | None = None, **env: str
) -> Iterator[tuple[str, int]]:
    """A server: its address and its process id."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | env
    )
    try:
        if address_file is None:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
        else:
            until = time.monotonic() + 20
            while not (address_file.exists() and address_file.read_text()):
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError(f"{command} did not start")
                time.sleep(0.02)
            address = address_file.read_text().strip()
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def measure(case: Case, address: str, pid: int, prefix: str, calls: int) -> Round:
    """Run a case once against a server."""
    model = f"{prefix}{case.way}/bench-model"
    command = [
        sys.executable, str(HERE / "load.py"), address, model, case.mode,
        str(case.concurrency), str(calls),
    ]  # fmt: skip
    before = cpu_seconds(pid)
    done = subprocess.run(
        [*command, *([case.metadata] if case.metadata else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    used = cpu_seconds(pid) - before
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result = json.loads(done.stdout)
    units = calls * case.units / case.calls
    if case.mode == "stream" and result["deltas"] != units:
        raise RuntimeError(f"{result['deltas']} of {units:.0f} chunks came")
    return Round(used / units * 1e6, statistics.median(result["took"]) * 1e3)


def run(rounds: int, share: float) -> list[dict[str, object]]:
    """Measure every case, the two servers in turn. Gives the rows of the table."""
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(upstream(CHUNKS, DELAY_MS))
        ways = {case.way for case in CASES}
        rows_of = {
            f"MARSYS_API_PROVIDERS__{way.upper()}__BASE_URL": f"{provider}/{way}/v1" for way in ways
        }
        relay = stack.enter_context(started([sys.executable, str(HERE / "relay.py"), provider]))
        address_file = folder / "address"
        service = stack.enter_context(
            started(
                [sys.executable, "-m", "api_service", "--address", "127.0.0.1:0",
                 "--address-file", str(address_file)],
                address_file,
                **rows_of,
                **{f"MARSYS_API_PROVIDERS__{way.upper()}__API_KEY": "bench-key" for way in ways},
            )
        )  # fmt: skip
        for case in CASES:
            calls = max(case.concurrency, int(case.calls * share))
            pairs = []
            for number in range(rounds + 1):
                order = [relay, service] if number % 2 else [service, relay]
                found = {server: measure(case, *server, "", calls) for server in order}
                if number:  # the first round warms up
                    pairs.append((found[service], found[relay]))
            rows.append(row(case, pairs))
            print_row(rows[-1])
        rows.append(
            {
                "case": "memory",
                "service_mb": rss_bytes(service[1]) / 1e6,
                "relay_mb": rss_bytes(relay[1]) / 1e6,
            }
        )
    return rows


def row(case: Case, pairs: list[tuple[Round, Round]]) -> dict[str, object]:
    """The medians of a case's rounds."""
    ratios = sorted(ours.cpu / theirs.cpu for ours, theirs in pairs if theirs.cpu)
    return {
        "case": case.name,
        "unit": "µs/chunk" if case.mode == "stream" else "µs/request",
        "service_cpu": statistics.median(ours.cpu for ours, _ in pairs),
        "relay_cpu": statistics.median(theirs.cpu for _, theirs in pairs),
        "ratio": statistics.median(ratios),
        "ratio_least": ratios[0],
        "ratio_most": ratios[-1],
        "service_p50_ms": statistics.median(ours.p50 for ours, _ in pairs),
        "relay_p50_ms": statistics.median(theirs.p50 for _, theirs in pairs),
        "limit": case.limit,
    }


def print_row(values: dict[str, object]) -> None:
    limit = f"(at most {values['limit']})" if values["limit"] else ""
    print(
        f"{values['case']:<24} {values['service_cpu']:>8.1f} {values['relay_cpu']:>8.1f} "
        f"{values['unit']:<11} ratio {values['ratio']:.2f} "
        f"[{values['ratio_least']:.2f}, {values['ratio_most']:.2f}] {limit:<14} "
        f"p50 {values['service_p50_ms']:.2f} / {values['relay_p50_ms']:.2f} ms",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="measured rounds of each case (5)")
    parser.add_argument("--quick", action="store_true", help="a third of the calls, three rounds")
    parser.add_argument("--check", action="store_true", help="fail where a limit is exceeded")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs; service / relay")
    rounds = options.rounds or (3 if options.quick else 5)
    share = 0.33 if options.quick else 1.0
    rows = run(rounds, share)
    memory = rows[-1]
    print(f"memory after the run: {memory['service_mb']:.0f} / {memory['relay_mb']:.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    exceeded = [row["case"] for row in rows if row.get("limit") and row["ratio"] > row["limit"]]  # type: ignore[operator]
    if exceeded:
        print(f"over the limit: {', '.join(map(str, exceeded))}")
    return 1 if exceeded and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
