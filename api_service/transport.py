"""The only place that does HTTP."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from api_service.connector import Connector, was_reused
from api_service.content_encoding import BadEncoding, Inflater
from api_service.network_errors import malformed, network_failure, out_of_reach
from api_service.providers.codec import HttpRequest
from api_service.proxies import Proxies
from api_service.timers import Timers, Waits
from api_service.watch import Watch
from marsys.v1 import CallPolicy
from serving.errors import ServiceError
from serving.reach import Reach, is_within

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_STREAM_BYTES = 128 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
_USER_AGENT = "marsys-models"
_LINGER = 0.1  # seconds that a finished stream gets to end, so that its connection can be reused
_ERROR_WAIT = 5.0  # seconds that the body of an error gets; its status alone says most
# A connection that was closed while it lay idle says so within a round trip.
_STALE_WITHIN = 1.0
_MOST_STALE = 5
_PAGES = ("text/html", "application/xhtml+xml")

_Failure = (TimeoutError, aiohttp.ClientError, OSError)


class Response:
    """A response whose headers have come. To be closed: read to its end or not.

    Attributes:
        status: HTTP status.
        headers: headers; names may be given in any case.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        timers: Timers,
        watch: Watch,
        connect_timeout: float,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._content = response.content
        self._timers = timers
        self._watch = watch
        self._connect_timeout = connect_timeout
        self._left = MAX_STREAM_BYTES
        self._inflater: Inflater | None = None

    @property
    def is_json(self) -> bool:
        """Whether the body says that it is JSON, and so no event stream."""
        return self.headers.get("content-type", "").lower().startswith("application/json")

    def check_type(self) -> None:
        """Refuse what can be no answer.

        Raises:
            ServiceError: it is a page for people, or empty by its status.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _PAGES:
            raise malformed(f"it is a web page ({kind}); is the base URL right?")
        if self.status in (204, 205):
            raise malformed(f"it has no content (status {self.status})")

    async def chunk(self) -> bytes:
        """What has come since the last call, waiting for it if need be; empty at the end.

        Raises:
            ServiceError: the connection broke, the wait was too long, the answer is endless, or its
                compression can't be undone.
        """
        if "content-encoding" in self.headers:
            data = await self._inflated()
        else:
            data = await self._raw()
        self._left -= len(data)
        if self._left < 0:
            raise malformed(f"it is larger than {MAX_STREAM_BYTES} bytes")
        return data

    async def body(self, limit: int, *, cut: bool = False) -> bytes:
        """The whole body.

        Args:
            limit: most bytes.
            cut: whether what has come is enough where the body is longer, breaks off, or takes
                longer than a few seconds: that of an error.

        Raises:
            ServiceError: the body is longer, the connection broke, or the wait was too long.
        """
        chunks: list[bytes] = []
        if cut:
            try:
                async with asyncio.timeout(_ERROR_WAIT):
                    await self._collect(chunks, limit)
            except (TimeoutError, ServiceError):
                pass
            return b"".join(chunks)[:limit]
        length = self.headers.get("content-length", "")
        if len(length) > 15 or (length.isdecimal() and int(length) > limit):
            raise _too_large(limit)
        await self._collect(chunks, limit)
        return b"".join(chunks)

    async def linger(self) -> None:
        """Wait a moment for the end of a stream that has nothing more to say."""
        if self._content.at_eof():
            return
        try:
            with self._watch.until(min(time.monotonic() + _LINGER, self._timers.until())):
                while await self._content.readany():
                    pass
        except _Failure:
            return

    def close(self) -> None:
        """Let the connection go: back to its pool if the response was read to its end."""
        self._watch.close()
        _hang_up(self._response.connection)
        self._response.close()

    async def _collect(self, chunks: list[bytes], limit: int) -> None:
        size = 0
        while chunk := await self.chunk():
            self._timers.content()
            size += len(chunk)
            chunks.append(chunk)
            if size > limit:
                raise _too_large(limit)

    async def _raw(self) -> bytes:
        try:
            ready = self._content.read_nowait()
            if ready:
                return ready
            with self._watch.until(self._timers.until()):
                data = await self._content.readany()
        except _Failure as error:
            raise network_failure(error, self._timers.exceeded(), self._connect_timeout) from None
        self._timers.alive()
        return data

    async def _inflated(self) -> bytes:
        try:
            if self._inflater is None:
                encoding = self.headers["content-encoding"].strip().lower()
                if encoding in ("", "identity"):
                    return await self._raw()
                self._inflater = Inflater(encoding)
            await asyncio.sleep(0)  # a few compressed bytes may make very many pieces
            while not (piece := self._inflater.take()):
                data = await self._raw()
                if not data:
                    self._inflater.end()
                    return b""
                self._inflater.feed(data)
        except BadEncoding as error:
            raise malformed(str(error)) from None
        return piece


class Transport:
    """Sends requests over pools of connections, one for each reach.

    Args:
        connect_timeout: most seconds for name resolution, connecting and TLS.
        waits: how long attempts wait where their callers set nothing.
        tls: how certificates are verified; None: by the system's authorities.
        proxies: HTTP proxies; None: requests go straight.
    """

    def __init__(
        self,
        connect_timeout: float = 10.0,
        waits: Waits | None = None,
        tls: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._waits = waits or Waits()
        self._tls = tls
        self._proxies = proxies
        self._sessions: dict[Reach, aiohttp.ClientSession] = {}

    def timers(self, policy: CallPolicy, deadline: float | None, stream: bool) -> Timers:
        """The timers of an attempt that begins now. See Timers."""
        return Timers(policy, deadline, stream, self._waits)

    async def send(
        self,
        base_url: str,
        request: HttpRequest,
        headers: Mapping[str, str],
        timers: Timers,
        *,
        reach: Reach,
    ) -> Response:
        """Send a request; gives its response once the headers have come.

        Raises:
            ServiceError: the address is out of reach, no connection could be made, it broke, or the
                wait was too long.
        """
        options: dict[str, Any] = {
            "data": request.body or None,
            "headers": {**request.headers, **headers},
            "allow_redirects": False,
        }
        if self._proxies is not None and reach is not Reach.PUBLIC:
            options["proxy"] = _proxy(self._proxies, base_url, reach)
        watch = Watch()
        try:
            with watch.until(timers.until()):
                came = await _request(
                    self._open(reach), request.method, base_url + request.path, options
                )
        except _Failure as error:
            watch.close()
            raise network_failure(error, timers.exceeded(), self._connect_timeout) from None
        except BaseException:
            watch.close()
            raise
        timers.alive()
        response = Response(came, timers, watch, self._connect_timeout)
        if response.status < 200:
            response.close()
            raise malformed(f"it wants another protocol (status {response.status})")
        return response

    async def close(self) -> None:
        """Close all connections."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    def _open(self, reach: Reach) -> aiohttp.ClientSession:
        session = self._sessions.get(reach)
        if session is None:
            session = self._sessions[reach] = aiohttp.ClientSession(
                connector=Connector(reach, self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
                headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
                auto_decompress=False,
                response_class=_ClosingResponse,
            )
        return session


class _ClosingResponse(aiohttp.ClientResponse):
    """A response that closes its connection at once where its headers are not waited for."""

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except BaseException:
            _hang_up(connection)
            raise


async def _request(
    session: aiohttp.ClientSession, method: str, url: str, options: Mapping[str, Any]
) -> aiohttp.ClientResponse:
    """Send a request; again where its connection had been closed while it lay idle."""
    stale = 0
    while True:
        begun = time.monotonic()
        try:
            return await session.request(method, url, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            stale += 1
            if (
                isinstance(error, aiohttp.ClientConnectorError)
                or not was_reused()
                or stale > _MOST_STALE
                or time.monotonic() - begun > _STALE_WITHIN
            ):
                raise


def _hang_up(connection: aiohttp.connector.Connection | None) -> None:
    """Close a connection that is not done, without waiting for the other side.

    Closing it the polite way would first send what is left of the request, and over TLS wait for
    the provider's goodbye, while it goes on writing.
    """
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _proxy(proxies: Proxies, base_url: str, reach: Reach) -> str | None:
    proxy = proxies.proxy_for(base_url)
    if proxy is not None and reach is not Reach.ANY:
        host = urlsplit(base_url).hostname or ""
        try:
            ip_address(host)
        except ValueError:
            return proxy  # the proxy resolves the name, so it alone can judge the address
        if not is_within(host, reach):
            raise out_of_reach()
    return proxy


def _too_large(limit: int) -> ServiceError:
    return malformed(f"it is larger than {limit} bytes")
