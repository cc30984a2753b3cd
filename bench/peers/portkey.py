"""Portkey's gateway, on Node.js, headless."""

from __future__ import annotations

from pathlib import Path

from bench.calls import WAYS, http_call
from bench.load import Call
from bench.peers.installs import from_npm
from bench.peers.peer import Setup
from bench.peers.server import Command, ServerPeer, free_address

_PACKAGE, _VERSION = "@portkey-ai/gateway", "1.15.2"


def _version(installs: Path) -> str:
    return from_npm(installs / "portkey", _PACKAGE, _VERSION)


class _Portkey:
    """It is told with each call where the provider is, so calls know of the one that runs."""

    def __init__(self) -> None:
        self._hosts: dict[str, str] = {}

    def command(self, setup: Setup) -> Command:
        self._hosts = {way: setup.upstream.base_url(way) for way in WAYS}
        address = free_address()
        script = setup.installs / f"portkey/node_modules/{_PACKAGE}/build/start-server.js"
        return Command(
            ["node", str(script), "--headless", f"--port={address.rpartition(':')[2]}"],
            # It refuses providers on this machine unless they are named.
            {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
            address,
            setup.folder,
        )

    def call(self, way: str, stream: bool) -> Call:
        return http_call(
            "/v1/chat/completions",
            "bench-model",
            stream,
            "Authorization: Bearer bench-key",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {self._hosts[way]}",
        )


_portkey = _Portkey()
PORTKEY = ServerPeer(
    "portkey", "Portkey gateway (Node.js)", _version, _portkey.command, _portkey.call
)
