"""Requests to providers and their responses, once the status says that it worked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from api_service.oauth.clock_skew import skew_in_words, skew_of
from api_service.oauth.credentials import Credentials
from api_service.oauth.login_error import LoginError
from api_service.oauth.logins import Login, Logins, login_failed
from api_service.providers.codec import HttpRequest, Upstream
from api_service.target import Target
from api_service.timers import Timers
from api_service.transport import MAX_ERROR_BYTES, Response, Transport
from marsys.v1 import ErrorReason
from serving.errors import ServiceError, service_error

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered. To be closed: read to its end or not.

    Attributes:
        response: the response, its status from 200 to 299.
        upstream: who answered; hides what the request was signed with.
    """

    response: Response
    upstream: Upstream

    def close(self) -> None:
        """Let the connection go."""
        self.response.close()


class Exchanges:
    """Sends requests, signed with a login where their target has one.

    Args:
        transport: reaches providers.
        logins: keeps logins fresh.
    """

    def __init__(self, transport: Transport, logins: Logins) -> None:
        self._transport = transport
        self._logins = logins

    async def open(self, target: Target, wire: HttpRequest, timers: Timers) -> Answer:
        """Send a request; the answer is to be closed.

        A login that the provider refuses (401) is renewed once, and the request sent once more.

        Raises:
            ServiceError: the provider could not be reached, or answered with an error; or the
                login can't be used.
        """
        login = target.login
        if login is None:
            return await _answer(target, await self._send(target, wire, timers))
        credentials = await _in_time(self._logins.current(login), login, timers)
        signed = target.signed(credentials)
        response = await self._send(signed, wire, timers)
        if response.status != 401:
            return await _answer(signed, response)
        with closing(response):
            log.info("%s refused the token: %s", target.provider, await _error(signed, response))
        renewed = self._logins.renewed(login, credentials.fingerprint)
        signed = target.signed(await _in_time(renewed, login, timers))
        return await _answer(signed, await self._send(signed, wire, timers))

    def _send(
        self, target: Target, wire: HttpRequest, timers: Timers
    ) -> Coroutine[Any, Any, Response]:
        return self._transport.send(
            target.base_url, wire, target.headers, timers, reach=target.reach
        )


async def _answer(target: Target, response: Response) -> Answer:
    """The answer that a response is.

    Raises:
        ServiceError: it is an error.
    """
    if 200 <= response.status < 300:
        return Answer(response, target.upstream)
    with closing(response):
        raise await _error(target, response)


async def _error(target: Target, response: Response) -> ServiceError:
    """The error that a response is."""
    body = await response.body(MAX_ERROR_BYTES, cut=True)
    now = time.time()
    error = target.codec.decode_error(target.upstream, response.status, response.headers, body, now)
    if response.status == 401 and target.login is not None:
        skew = skew_of(response.headers.get("date", ""), now)
        if skew:
            error.message += f"; {skew_in_words(skew)}"
    return ServiceError(error)


async def _in_time(work: Awaitable[Credentials], login: Login, timers: Timers) -> Credentials:
    """The login, if it is there in time. A refresh goes on without who waits for it."""
    try:
        async with asyncio.timeout(timers.left()):
            return await work
    except LoginError as error:
        raise login_failed(login, error) from None
    except TimeoutError:
        raise service_error(
            ErrorReason.ERROR_REASON_TIMEOUT,
            f"{login.kind.provider}: the login was not refreshed in time",
            provider=login.kind.provider,
        ) from None
