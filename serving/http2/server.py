"""The server: listens, hands calls to handlers, leaves in an orderly way."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from serving.http2.call import Call
from serving.http2.connection import Connection
from serving.http2.handlers import Handler, Handlers, Interceptor
from serving.http2.metadata import Metadata

_BACKLOG = 1024
# A connection that says nothing for minutes is probed, so that firewalls don't forget it.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))


class Http2Server:
    """Serves what is registered with its `handlers`.

    Args:
        limit: most bytes of a message, either way.
        interceptors: asked before each method.

    Attributes:
        handlers: takes what the generated add_*_to_server functions register.
        connections: those that are open.
    """

    def __init__(self, limit: int, interceptors: Sequence[Interceptor] = ()) -> None:
        self.limit = limit
        self.handlers = Handlers(interceptors)
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._path: Path | None = None
        self._stopping = False
        self._left = asyncio.Event()

    def opened(self, connection: Connection) -> None:
        """Called by a connection that has begun."""
        self.connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Called by a connection that has ended."""
        self.connections.discard(connection)
        self._check_left()

    def _check_left(self) -> None:
        if self._stopping and not self.connections:
            self._left.set()

    async def listen(
        self, address: str, tls: ssl.SSLContext | None = None, reuse_port: bool = False
    ) -> str:
        """Listen; gives the address, with the port that it got.

        Raises:
            OSError: the address is in use or can't be bound.
        """
        loop = asyncio.get_running_loop()

        def connected() -> Connection:
            return Connection(self, loop)

        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            _check_free(path)
            self._server = await loop.create_unix_server(
                connected, str(path), ssl=tls, backlog=_BACKLOG
            )
            self._path = path
            return address
        host, _, port = address.rpartition(":")
        self._server = await loop.create_server(
            connected,
            host.strip("[]"),
            int(port),
            ssl=tls,
            backlog=_BACKLOG,
            reuse_port=reuse_port or None,
        )
        for listening in self._server.sockets:
            _keep_alive(listening)
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self, grace: float) -> None:
        """Take no new connections and calls; end after `grace` seconds what still runs."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.leave()
        self._stopping = True
        self._check_left()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._left.wait()
        for connection in list(self.connections):
            connection.cancel_calls()
            connection.close()
        await asyncio.sleep(0)
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()

    def serve(self, call: Call, path: str, metadata: Metadata) -> None:
        """Begin a call."""
        if self.handlers.plain:
            self._start(call, path, self.handlers.get(path))
            return
        look = asyncio.get_running_loop().create_task(self._find(call, path, metadata))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _find(self, call: Call, path: str, metadata: Metadata) -> None:
        self._start(call, path, await self.handlers.find(path, metadata))

    def _start(self, call: Call, path: str, handler: Handler | None) -> None:
        if handler is None:  # said at once: a stream may wait for it before it says anything
            call.end(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {path[:200]}")
        call.start(handler)


def _check_free(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"{path} is in use")


def _keep_alive(listening: Any) -> None:
    """Connections inherit what their listening socket has."""
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                listening.setsockopt(socket.IPPROTO_TCP, option, value)
