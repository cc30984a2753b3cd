"""What the Python client costs beside the bare generated stub, before the same server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.calls import CHUNKS

_ROOT = Path(__file__).parents[1]
_PROGRAM = "bench.programs.client_caller"
WHO = ("client", "stub")


@dataclass(frozen=True)
class ClientCase:
    """A way to call from Python.

    Attributes:
        server: who answers. api_service joins deltas that arrive together; the minimal relay sends
            each in a message of its own, so there the cost of a delta shows.
        concurrency: how many callers, in an event loop.
    """

    key: str
    title: str
    server: str
    how: str
    what: str
    way: str
    concurrency: int
    calls: int

    @property
    def units(self) -> int:
        return self.calls * (CHUNKS if self.what == "stream" else 1)


CLIENT_CASES = (
    ClientCase("call", "`run`, a call", "marsys", "sync", "call", "burst", 1, 1000),
    ClientCase("acall", "`arun`, a call", "marsys", "async", "call", "burst", 16, 2000),
    ClientCase(
        "delta", "`for ... in stream`, a delta", "grpc_aiohttp", "sync", "stream", "burst", 1, 200
    ),
    ClientCase(
        "adelta",
        "`async for ... in stream`, a delta",
        "grpc_aiohttp",
        "async",
        "stream",
        "burst",
        16,
        320,
    ),
    ClientCase(
        "paced", "the same, paced, 32 at once", "marsys", "async", "stream", "paced", 32, 32
    ),
)


def measure_client(
    addresses: Mapping[str, str], rounds: int, share: float
) -> dict[str, dict[str, list[float]]]:
    """Measure client and stub in turn.

    Args:
        addresses: of api_service and of the minimal relay, by key.
        rounds: how often each is measured.
        share: of the calls of a whole run.

    Returns:
        For each case and side, the CPU microseconds a call or a delta in each round.

    Raises:
        RuntimeError: a call failed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for case in CLIENT_CASES:
        calls = max(int(case.calls * share), case.concurrency)
        units = case.units * calls / case.calls
        found[case.key] = {who: [] for who in WHO}
        for number in range(rounds):
            for who in WHO[:: 1 if number % 2 else -1]:
                done = subprocess.run(
                    [sys.executable, "-m", _PROGRAM, who, case.how, case.what,
                     addresses[case.server], case.way, str(case.concurrency), str(calls)],
                    cwd=_ROOT,
                    capture_output=True,
                    text=True,
                    check=False,
                )  # fmt: skip
                if done.returncode:
                    raise RuntimeError(done.stderr.strip()[-2000:])
                found[case.key][who].append(json.loads(done.stdout) / units * 1e6)
    return found
