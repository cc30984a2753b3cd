"""The systems that are measured, one file each."""

from __future__ import annotations

from bench.peers.direct import DIRECT
from bench.peers.litellm import LITELLM
from bench.peers.openai_sdk import OPENAI_SDK
from bench.peers.peer import Measured, Peer, Setup, Subject
from bench.peers.portkey import PORTKEY
from bench.peers.relays import AIOHTTP, COALESCED, HTTPX
from bench.peers.server import Server, ServerPeer
from bench.peers.service import ON_HTTP2, SERVICE, TWO_WORKERS
from bench.peers.tensorzero import TENSORZERO

# In the order of the tables.
PEERS: tuple[Peer, ...] = (
    SERVICE, ON_HTTP2, AIOHTTP, COALESCED, HTTPX, OPENAI_SDK, LITELLM, PORTKEY, TENSORZERO, DIRECT,
)  # fmt: skip
# What needs no more than the project's own environment.
HERE: tuple[Peer, ...] = (SERVICE, ON_HTTP2, AIOHTTP, COALESCED, DIRECT)

__all__ = [
    "AIOHTTP",
    "DIRECT",
    "HERE",
    "ON_HTTP2",
    "PEERS",
    "SERVICE",
    "TWO_WORKERS",
    "Measured",
    "Peer",
    "Server",
    "ServerPeer",
    "Setup",
    "Subject",
]
