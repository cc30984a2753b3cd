"""Requests to providers and their responses, once the status says that it worked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

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
    """What a provider answered.

    Attributes:
        response: the response, its status from 200 to 299.
        upstream: who answered; hides what the request was signed with.
    """

    response: Response
    upstream: Upstream


class Exchanges:
    """Sends requests, signed with a login where their target has one.

    Args:
        transport: reaches providers.
        logins: keeps logins fresh.
    """

    def __init__(self, transport: Transport, logins: Logins) -> None:
        self._transport = transport
        self._logins = logins

    @asynccontextmanager
    async def open(
        self, target: Target, wire: HttpRequest, timers: Timers
    ) -> AsyncIterator[Answer]:
        """Send a request. The connection is closed if the response is left unread.

        A login that the provider refuses (401) is renewed once, and the request sent once more.

        Raises:
            ServiceError: the provider could not be reached, or answered with an error; or the
                login can't be used.
        """
        login = target.login
        if login is None:
            async with self._send(target, wire, timers) as response:
                await _check(target, response)
                yield Answer(response, target.upstream)
            return
        credentials = await _in_time(self._logins.current(login), login, timers)
        signed = target.signed(credentials)
        async with self._send(signed, wire, timers) as response:
            if response.status != 401:
                await _check(signed, response)
                yield Answer(response, signed.upstream)
                return
            log.info("%s refused the token: %s", target.provider, await _error(signed, response))
        renewed = self._logins.renewed(login, credentials.fingerprint)
        signed = target.signed(await _in_time(renewed, login, timers))
        async with self._send(signed, wire, timers) as response:
            await _check(signed, response)
            yield Answer(response, signed.upstream)

    def _send(
        self, target: Target, wire: HttpRequest, timers: Timers
    ) -> AbstractAsyncContextManager[Response]:
        return self._transport.send(
            target.base_url, wire, target.headers, timers, reach=target.reach
        )


async def _check(target: Target, response: Response) -> None:
    if not 200 <= response.status < 300:
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
