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
from marsys.agents.exceptions import ModelConfigurationError, ModelError
from marsys.rpc.connection import Connection
from marsys.rpc.target import Target
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
        self._pid = os.getpid()
        self._guard = self._close_at_end()

    async def watch(self) -> None:
        """Have the channels closed when the loop ends."""
        # asyncio closes the suspended async generators of a loop before the loop itself.
        await anext(self._guard)

    async def _close_at_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            if os.getpid() == self._pid:  # a forked process has none of gRPC's threads
                for stubs in self.stubs.values():
                    await stubs.channel.close()
                self.stubs.clear()


# UNAVAILABLE before any header of the answer: nothing has come of the call that could come twice.
# gRPC knows that exactly, and repeats no call that has headers; errors of their own our services
# mark as final (grpc-retry-pushback-ms). In all about 2.4 s: long enough for a service that is just
# starting or being replaced, short enough where there is none.
_RETRIED = {
    "name": [
        {"service": "marsys.v1.InferenceService"},
        {"service": "marsys.v1.ModelService", "method": "LoadModel"},
    ],
    "retryPolicy": {
        "maxAttempts": 5,
        "initialBackoff": "0.2s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    },
}
_RETRY_BYTES = 8 * 1024 * 1024  # requests beyond that are not kept, so not repeated
_ON = ("1", "true", "yes", "on", "y", "t")

_used = False  # whether this process has opened a channel
_forked = False  # whether it was forked from one that had
_lock = threading.Lock()
_sync: dict[tuple[int, Connection], Stubs] = {}
_by_loop: dict[asyncio.AbstractEventLoop, _LoopChannels] = {}


def sync_stubs(connection: Connection, timeout: float | None = None) -> Stubs:
    """Stubs for synchronous calls, from any thread.

    Args:
        connection: where to call. In embedded mode (`Connection.embedded`) it may start a service,
            and blocks until that listens.
        timeout: how long that may take, in seconds; None: as long as it may.

    Raises:
        ModelAPIError: no service answers and none can be started.
        ModelConfigurationError: this process was forked from one that had opened channels.
        TimeoutError: the time was over before a service listened.
    """
    _check_fork()
    if connection.embedded:
        from marsys.embedded import settle

        connection = settle(connection, timeout)
    key = (os.getpid(), connection)  # a channel does not outlive a fork
    with _lock:
        stubs = _sync.get(key)
        if stubs is None:
            stubs = _sync[key] = Stubs(_open(grpc, connection))
        return stubs


async def loop_stubs(
    connection: Connection,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Stubs:
    """Stubs for calls on the running event loop. Arguments and errors as for `sync_stubs`."""
    _check_fork()
    if connection.embedded:
        from marsys.embedded import settle_async

        connection = await settle_async(connection, timeout)
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


def is_placed(connection: Connection) -> bool:
    """Whether it is known where calls on a connection go, so that stubs come at once."""
    if not connection.embedded:
        return True
    from marsys.embedded import is_settled

    return is_settled(connection)


def place_of(connection: Connection) -> Target:
    """Where calls on a connection go, as far as is known by now."""
    if connection.embedded:
        from marsys.embedded import settled

        connection = settled(connection) or connection
    return connection.target


def _open(api: Any, connection: Connection) -> Any:
    """A channel of `api`, which is grpc or grpc.aio."""
    global _used
    _used = True
    target = connection.target
    options = _options(target.address.startswith("dns:"))
    if not target.secure:
        return api.insecure_channel(target.address, options=options)
    files = (connection.ca_file, connection.key_file, connection.cert_file)
    roots, key, chain = (Path(file).read_bytes() if file else None for file in files)
    credentials = grpc.ssl_channel_credentials(roots, key, chain)
    return api.secure_channel(target.address, credentials, options=options)


def _options(spread: bool) -> list[tuple[str, Any]]:
    config: dict[str, Any] = {"methodConfig": [_RETRIED]}
    if spread:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A dead peer is found within 50 s, however long an answer takes to begin. gRPC's newer
        # releases go by the timeout of pings, older ones by that of keepalive.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.primary_user_agent", f"marsys-models/{__version__}"),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.service_config_disable_resolution", 1),  # what DNS says of retries doesn't count
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BYTES),
        # A service that starts is found within a second, not after gRPC's minute of back-off.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", 10_000),  # how long connecting may take
    ]


def _check_fork() -> None:
    if _forked:
        raise ModelConfigurationError(
            "this process was forked from one that had already called a service, which gRPC does "
            "not survive: make the first call after the fork, or start processes by spawn or "
            'forkserver (multiprocessing.set_start_method("spawn"))'
        )


def _after_fork() -> None:
    """In a forked process: locks may be held by threads that are no more, channels are dead."""
    global _lock, _forked
    _lock = threading.Lock()
    # Whoever turned on gRPC's own support of forks has been told of its limits there.
    _forked = _used and os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() not in _ON


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _close_sync() -> None:
    # Threads that still run are daemons, and what they call ends here. That is no error of theirs.
    tell = threading.excepthook

    def tell_others(args: Any) -> None:
        if not isinstance(args.exc_value, ModelError | grpc.RpcError):
            tell(args)

    threading.excepthook = tell_others
    with _lock:
        for (pid, _), stubs in _sync.items():
            if pid == os.getpid():
                stubs.channel.close()
        _sync.clear()
