"""The only place that does HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from api_service.providers.codec import HttpRequest
from api_service.timers import Timers
from marsys.v1 import ErrorReason
from serving.errors import ServiceError, service_error

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
_USER_AGENT = "marsys-models"
_LINGER = 1.0  # seconds that a finished stream gets to end, so that its connection can be reused


class Response:
    """A response whose headers have come.

    Attributes:
        status: HTTP status.
        headers: headers, by lower-case name.
    """

    def __init__(self, response: aiohttp.ClientResponse, timers: Timers) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }
        self._content = response.content
        self._timers = timers

    @property
    def is_json(self) -> bool:
        """Whether the body says that it is JSON, and so no event stream."""
        return self.headers.get("content-type", "").lower().startswith("application/json")

    async def chunk(self) -> bytes:
        """What has come since the last call, waiting for it if need be; empty at the end.

        Raises:
            ServiceError: the connection broke, or the wait was too long.
        """
        try:
            ready = self._content.read_nowait()
            if ready:
                return ready
            async with asyncio.timeout(self._timers.left()):
                return await self._content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _failure(error, self._timers) from None

    async def body(self, limit: int, *, cut: bool = False) -> bytes:
        """The whole body.

        Args:
            limit: most bytes.
            cut: whether a longer body is cut off.

        Raises:
            ServiceError: the body is longer, the connection broke, or the wait was too long.
        """
        chunks: list[bytes] = []
        size = 0
        while chunk := await self.chunk():
            self._timers.content()
            size += len(chunk)
            chunks.append(chunk)
            if size > limit:
                if cut:
                    return b"".join(chunks)[:limit]
                raise service_error(
                    ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
                    f"the provider's answer is larger than {limit} bytes",
                )
        return b"".join(chunks)

    async def linger(self) -> None:
        """Wait a moment for the end of a stream that has nothing more to say."""
        try:
            async with asyncio.timeout(min(_LINGER, self._timers.left())):
                while await self._content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            return


class Transport:
    """Sends requests over one pool of connections.

    Args:
        connect_timeout: most seconds for name resolution, connecting and TLS.
    """

    def __init__(self, connect_timeout: float = 10.0) -> None:
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def send(
        self, base_url: str, request: HttpRequest, headers: Mapping[str, str], timers: Timers
    ) -> AsyncIterator[Response]:
        """Send a request and read its response; the connection is closed if it is left unread.

        Raises:
            ServiceError: no connection could be made, it broke, or the wait was too long.
        """
        try:
            async with asyncio.timeout(timers.left()):
                response = await self._open().request(
                    request.method,
                    base_url + request.path,
                    data=request.body or None,
                    headers={**request.headers, **headers},
                    allow_redirects=False,
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _failure(error, timers) from None
        try:
            yield Response(response, timers)
        finally:
            response.close()  # gives the connection back where the body was read to its end

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
                headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            )
        return self._session


def _failure(error: BaseException, timers: Timers) -> ServiceError:
    """What a failed exchange means. The error's own text may hold addresses, so it stays out."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return service_error(
            ErrorReason.ERROR_REASON_TIMEOUT, "the provider could not be reached in time"
        )
    if isinstance(error, TimeoutError):
        return service_error(
            ErrorReason.ERROR_REASON_TIMEOUT, f"the provider did not answer: {timers.exceeded()}"
        )
    if isinstance(error, aiohttp.InvalidURL):
        return service_error(ErrorReason.ERROR_REASON_INVALID_REQUEST, "the base URL is no URL")
    if isinstance(error, aiohttp.ClientResponseError):
        return service_error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE, "the provider's answer is no HTTP"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        what = "could not be reached"
    else:
        what = "broke the connection"
    return service_error(
        ErrorReason.ERROR_REASON_NETWORK_ERROR,
        f"the provider {what} ({type(error).__name__})",
    )
