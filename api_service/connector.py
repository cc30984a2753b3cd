"""Connections to providers: which addresses they may go to, and how they are kept alive."""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from serving.reach import Reach, is_within

_NAMES_FOR = 300  # seconds that a trusted name's addresses are remembered
_CALLERS_NAMES_FOR = 10
_RESOLVERS = 4  # threads; a caller's slow names must not hold up the providers'
# A connection that says nothing for minutes is probed, so that firewalls don't forget it.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))

_reused: ContextVar[bool] = ContextVar("_reused", default=False)


class AddressRefused(OSError):
    """An address is out of reach for the request."""


def was_reused() -> bool:
    """Whether the last connection that this task was given had served a request before."""
    return _reused.get()


class Connector(aiohttp.TCPConnector):
    """Connects to what lies within reach.

    Addresses are judged when they are connected to, so that a name can't change its meaning in
    between. A name with one address out of reach is refused, whichever is tried first.

    Args:
        reach: how far connections may go.
        tls: how TLS certificates are verified; None: by the system's authorities.
    """

    def __init__(self, reach: Reach, tls: ssl.SSLContext | None) -> None:
        guarded = reach is not Reach.ANY
        self._reach = reach
        self._served: WeakSet[Any] = WeakSet()
        super().__init__(
            limit=0,
            ttl_dns_cache=_CALLERS_NAMES_FOR if guarded else _NAMES_FOR,
            resolver=_GuardedResolver(reach) if guarded else None,
            socket_factory=self._socket,
            ssl=True if tls is None else tls,
        )

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        """See BaseConnector.connect. Notes whether the connection is a new one."""
        while True:
            connection = await super().connect(*args, **options)
            protocol = connection.protocol
            reused = protocol in self._served
            if reused and protocol is not None and protocol.should_close:
                connection.close()  # it got what nobody asked for: that answers no request
                continue
            _reused.set(reused)
            self._served.add(protocol)
            return connection

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_within(address[0], self._reach):
            raise AddressRefused(None, "out of reach")
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE:
            option = getattr(socket, name, None)  # not every system has them all
            if option is not None:
                made.setsockopt(socket.IPPROTO_TCP, option, value)
        return made


class _GuardedResolver(AbstractResolver):
    """Resolves names, and refuses those with an address out of reach."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(
                host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            ),
        )
        for *_, address in found:
            if not is_within(str(address[0]), self._reach):
                raise AddressRefused(None, "out of reach")
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
