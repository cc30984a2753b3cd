"""The least that a gRPC relay in Python must do: programs/relay.py, over two HTTP libraries."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.calls import grpc_call
from bench.peers.installs import of_this_environment
from bench.peers.peer import Setup
from bench.peers.server import Command, ServerPeer

_PROGRAM = Path(__file__).parents[1] / "programs/relay.py"


def _relay(key: str, title: str, http: str, *options: str) -> ServerPeer:
    def command(setup: Setup) -> Command:
        return Command(
            [sys.executable, str(_PROGRAM), http, f"http://{setup.upstream.address}",
             str(setup.folder / "address"), *options]
        )  # fmt: skip

    def version(installs: Path) -> str:
        return of_this_environment("grpcio", http)

    return ServerPeer(key, title, version, command, grpc_call)


AIOHTTP = _relay("grpc_aiohttp", "minimal grpc.aio + aiohttp", "aiohttp")
COALESCED = _relay(
    "grpc_aiohttp_coalesced", "minimal grpc.aio + aiohttp, coalesced", "aiohttp", "--coalesce"
)
HTTPX = _relay("grpc_httpx", "minimal grpc.aio + httpx", "httpx")
