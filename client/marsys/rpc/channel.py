"""Channels, shared: one for synchronous calls in each process, one for each running event loop.

Nobody closes them by hand. Those of a loop end with the loop, those of the process at its exit.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from marsys import __version__
from marsys.rpc.connection import Connection
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceStub
from marsys.v1.oauth_service_pb2_grpc import OAuthServiceStub

MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class Stubs:
    """The services' stubs on one channel."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.inference: Any = InferenceServiceStub(channel)
        self.models: Any = ModelServiceStub(channel)
        self.oauth: Any = OAuthServiceStub(channel)


class _LoopChannels:
    """The channels of one event loop."""

    def __init__(self) -> None:
        self.stubs: dict[Connection, Stubs] = {}
        self._guard = self._close_at_end()

    async def watch(self) -> None:
        """Have the channels closed when the loop ends."""
        # asyncio closes the suspended async generators of a loop before the loop itself.
        await anext(self._guard)

    async def _close_at_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            for stubs in self.stubs.values():
                await stubs.channel.close()
            self.stubs.clear()


_lock = threading.Lock()
_sync: dict[tuple[int, Connection], Stubs] = {}
_by_loop: dict[asyncio.AbstractEventLoop, _LoopChannels] = {}


def sync_stubs(connection: Connection) -> Stubs:
    """Stubs for synchronous calls, from any thread."""
    key = (os.getpid(), connection)  # a channel does not outlive a fork
    with _lock:
        stubs = _sync.get(key)
        if stubs is None:
            stubs = _sync[key] = Stubs(_open(grpc, connection))
        return stubs


async def loop_stubs(connection: Connection) -> Stubs:
    """Stubs for calls on the running event loop."""
    loop = asyncio.get_running_loop()
    channels = _by_loop.get(loop)
    if channels is None:
        with _lock:
            for other in [other for other in _by_loop if other.is_closed()]:
                del _by_loop[other]
            channels = _by_loop[loop] = _LoopChannels()
        await channels.watch()
    stubs = channels.stubs.get(connection)
    if stubs is None:
        stubs = channels.stubs[connection] = Stubs(_open(grpc.aio, connection))
    return stubs


def _open(api: Any, connection: Connection) -> Any:
    """A channel of `api`, which is grpc or grpc.aio."""
    target = connection.target
    options = _options(target.address.startswith("dns:"))
    if not target.secure:
        return api.insecure_channel(target.address, options=options)
    roots = Path(connection.ca_file).read_bytes() if connection.ca_file else None
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return api.secure_channel(target.address, credentials, options=options)


def _options(spread: bool) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.primary_user_agent", f"marsys-models/{__version__}"),
        # No retry policy, from here or from DNS: gRPC repeats only what never left the machine or
        # never reached a handler. All else the service retries, or tells.
        ("grpc.service_config_disable_resolution", 1),
        # A service that starts is found within a second, not after gRPC's minute of back-off.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if spread:
        config = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
        options.append(("grpc.service_config", config))
    return options


@atexit.register
def _close_sync() -> None:
    with _lock:
        for (pid, _), stubs in _sync.items():
            if pid == os.getpid():
                stubs.channel.close()
        _sync.clear()
