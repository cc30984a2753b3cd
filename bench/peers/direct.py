"""The fake provider alone, called without anything between: the floor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.calls import http_call
from bench.load import Call
from bench.peers.peer import Setup
from bench.peers.server import Server


class _Direct:
    key = "upstream"
    title = "the fake provider alone (C)"

    def install(self, installs: Path) -> str:
        return ""

    @contextmanager
    def running(self, setup: Setup) -> Iterator[Server]:
        yield Server(setup.upstream.address, setup.upstream.pid, 0, setup.load, _call)


def _call(way: str, stream: bool) -> Call:
    return http_call(f"/{way}/v1/chat/completions", "bench-model", stream)


DIRECT = _Direct()
