"""api_service, as an operator would run it, with all its checks on."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.calls import WAYS, grpc_call
from bench.peers.installs import of_this_environment
from bench.peers.peer import Setup
from bench.peers.server import Command, ServerPeer


def _version(installs: Path) -> str:
    return of_this_environment("grpcio", "protobuf", "aiohttp", "uvloop", "orjson")


def _command(setup: Setup, *further: str) -> Command:
    environment = {}
    for way in WAYS:
        row = f"MARSYS_API_PROVIDERS__{way.upper()}__"
        environment |= {
            f"{row}BASE_URL": setup.upstream.base_url(way),
            f"{row}API_KEY": "bench-key",
        }
    return Command(
        [sys.executable, "-m", "api_service", "--address", "127.0.0.1:0",
         "--address-file", str(setup.folder / "address"), *further],
        environment,
    )  # fmt: skip


def _version_of_http2(installs: Path) -> str:
    return of_this_environment("zttp", "protobuf", "aiohttp", "uvloop", "orjson")


SERVICE = ServerPeer("marsys", "marsys api_service", _version, _command, grpc_call)
ON_HTTP2 = ServerPeer(
    "marsys_http2",
    "marsys api_service, `--transport http2`",
    _version_of_http2,
    lambda setup: _command(setup, "--transport", "http2"),
    grpc_call,
)
# With each, what it is compared with.
TWO_WORKERS = {
    SERVICE.key: ServerPeer(
        "marsys_2_workers",
        "marsys api_service, `--workers 2`",
        _version,
        lambda setup: _command(setup, "--workers", "2"),
        grpc_call,
    ),
    ON_HTTP2.key: ServerPeer(
        "marsys_http2_2_workers",
        "marsys api_service, `--transport http2 --workers 2`",
        _version_of_http2,
        lambda setup: _command(setup, "--transport", "http2", "--workers", "2"),
        grpc_call,
    ),
}
