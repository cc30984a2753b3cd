"""Where api_service spends its time: `python -m bench.profile [CASE ...]`.

Samples its main thread with py-spy while the load generator calls it, and prints the functions with
the most time of their own. What native code does (the event loop, gRPC, protobuf) counts for the
Python function that called it. Other threads are not looked at: they are gRPC's, and hold no code
of ours.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.calls import CHUNKS, DELAY_MS
from bench.cases import CASES, Case
from bench.cpu import main_thread_seconds
from bench.load import Load
from bench.peers import AIOHTTP, SERVICE, Server, Setup
from bench.peers.installs import in_venv
from bench.rounds import fill
from bench.upstream import upstream

_ROOT = Path(__file__).parents[1]
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>.+?)(:\d+)?\)$")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="unary, burst, paced, ...")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--top", type=int, default=25, help="how many functions")
    parser.add_argument("--relay", action="store_true", help="profile the minimal relay instead")
    parser.add_argument("--raw", type=Path, help="folder that gets the stacks, for flame graphs")
    options = parser.parse_args()
    installs = _ROOT / ".bench"
    in_venv(installs / "py-spy", "py-spy>=0.4", "py-spy")
    peer = AIOHTTP if options.relay else SERVICE
    wanted = options.cases or ["unary", "burst", "paced"]
    with tempfile.TemporaryDirectory() as name, upstream(CHUNKS, DELAY_MS) as provider:
        folder = Path(name)
        setup = Setup(provider, Load(folder), folder, installs)
        with peer.running(setup) as server:
            for case in (case for case in CASES if case.key in wanted):
                cpu, stacks = _sampled(case, server, options.seconds, folder)
                print(f"\n{case.title}: {cpu:.1f} µs/{case.unit} in the main thread")
                print(packages(stacks))
                print("\n".join(top(stacks, cpu, options.top)))
                if options.raw:
                    options.raw.mkdir(parents=True, exist_ok=True)
                    (options.raw / f"{case.key}.txt").write_text("\n".join(stacks))
    return 0


def _sampled(case: Case, server: Server, seconds: int, folder: Path) -> tuple[float, list[str]]:
    """CPU microseconds a unit of the main thread in a run without the profiler, and its stacks in
    another with it.
    """

    def run(calls: int) -> tuple[float, float]:
        before = main_thread_seconds(server.pid)
        done = server.run(case.way, case.stream, case.concurrency, calls)
        used = main_thread_seconds(server.pid) - before
        return used / calls / case.units * 1e6, calls / done.loaded.wall

    _, rate = run(2 * case.concurrency)
    cpu, rate = run(fill(case, rate, seconds / 2))
    load = threading.Thread(target=run, args=(fill(case, rate, seconds + 2),))
    load.start()
    time.sleep(0.5)
    file = folder / "stacks"
    subprocess.run(
        [_ROOT / ".bench/py-spy/bin/py-spy", "record", "--pid", str(server.pid), "--duration",
         str(seconds), "--rate", "500", "--format", "raw", "--output", file],
        check=True,
        capture_output=True,
    )  # fmt: skip
    load.join()
    stacks = file.read_text().splitlines()
    return cpu, [stack for stack in stacks if "(threading.py:" not in stack.partition(";")[0]]


def top(stacks: Iterable[str], cpu: float, count: int) -> list[str]:
    """The functions with the most time of their own.

    Args:
        stacks: py-spy's raw format: frames from the outermost, and how often they were seen.
        cpu: microseconds that all of them stand for.
        count: how many.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for stack in stacks:
        frames, _, seen = stack.rpartition(" ")
        names = [_short(frame) for frame in frames.split(";")]
        own[names[-1]] += int(seen)
        for name in set(names):
            whole[name] += int(seen)
        total += int(seen)
    lines = [f"{'own':>6} {'µs':>8} {'in all':>7}  function"]
    for name, seen in own.most_common(count):
        share = seen / total
        lines.append(f"{share:>6.1%} {share * cpu:>8.2f} {whole[name] / total:>7.1%}  {name}")
    return lines


def packages(stacks: Iterable[str]) -> str:
    """The share that each package has of its own, in words; what the event loop does in native code
    goes by its name.
    """
    own: Counter[str] = Counter()
    for stack in stacks:
        frames, _, seen = stack.rpartition(" ")
        function, _, file = _short(frames.rpartition(";")[2]).partition("  ")
        native = function == "Runner.run"
        own["uvloop and gRPC, native" if native else file.partition("/")[0]] += int(seen)
    return ", ".join(f"{name} {seen / own.total():.1%}" for name, seen in own.most_common(8))


def _short(frame: str) -> str:
    """A frame without its line number and with a path that can be read."""
    found = _FRAME.match(frame)
    if not found:
        return frame
    file = found["file"].rpartition("site-packages/")[2]
    return f"{found['function']}  {os.path.relpath(file, _ROOT) if file.startswith('/') else file}"


if __name__ == "__main__":
    sys.exit(main())
