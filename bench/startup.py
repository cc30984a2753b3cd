"""How long servers take to start, and what they take when idle."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.peers import ServerPeer, Setup

_REST = 1.0  # seconds between the first answer and the look at the memory


def measure_startup(
    peers: Sequence[ServerPeer], setup: Setup, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Start servers one at a time, in turn.

    Returns:
        For each: "ready", seconds from the start of its process until its first right answer, and
        "rss", MB of resident memory of all its processes after that answer; a value a round.

    Raises:
        RuntimeError: a server did not start.
    """
    found: dict[str, dict[str, list[float]]] = {
        peer.key: {"ready": [], "rss": []} for peer in peers
    }
    for _ in range(rounds):
        for peer in peers:
            with (
                tempfile.TemporaryDirectory() as folder,
                peer.running(replace(setup, folder=Path(folder))) as server,
            ):
                time.sleep(_REST)
                found[peer.key]["ready"].append(server.ready)
                found[peer.key]["rss"].append(server.rss() / 1e6)
    return found
