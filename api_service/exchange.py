"""One request to a provider and its response, once the status says that it worked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_service.providers.codec import HttpRequest
from api_service.target import Target
from api_service.timers import Timers
from api_service.transport import MAX_ERROR_BYTES, Response, Transport
from serving.errors import ServiceError


@asynccontextmanager
async def exchange(
    transport: Transport, target: Target, wire: HttpRequest, timers: Timers
) -> AsyncIterator[Response]:
    """Send a request. The connection is closed if the response is left unread.

    Raises:
        ServiceError: the provider could not be reached, or answered with an error.
    """
    sending = transport.send(target.base_url, wire, target.headers, timers, reach=target.reach)
    async with sending as response:
        if not 200 <= response.status < 300:
            body = await response.body(MAX_ERROR_BYTES, cut=True)
            raise ServiceError(
                target.codec.decode_error(
                    target.upstream, response.status, response.headers, body, time.time()
                )
            )
        yield response
