"""The way of a request: resolve, encode, send, decode; again where an attempt failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from api_service.providers.codec import HttpRequest
from api_service.providers.token_estimate import estimate_tokens
from api_service.retry import Attempts, Backoff
from api_service.target import Target, Targets
from api_service.timers import Timers
from api_service.transport import MAX_BODY_BYTES, MAX_ERROR_BYTES, Transport
from marsys.v1 import (
    AttemptFailed,
    CallPolicy,
    CountPrecision,
    CountTokensResponse,
    GenerateRequest,
    StreamEvent,
)
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call


class RemoteGenerator:
    """Generates with remote providers. See serving.generator.Generator.

    Args:
        targets: finds providers.
        transport: reaches them.
        backoff: the waits between attempts.
    """

    def __init__(self, targets: Targets, transport: Transport, backoff: Backoff) -> None:
        self._targets = targets
        self._transport = transport
        self._backoff = backoff

    async def generate(
        self, request: GenerateRequest, call: Call
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        """See Generator.generate."""
        target = self._targets.resolve(request, call)
        writer = EventWriter()
        wire = target.codec.encode(request, target.upstream, call.stream, writer)
        head = writer.take()  # warnings: sent with what comes first
        attempts = Attempts(
            target.upstream.row, target.model, request.policy, call.deadline, self._backoff
        )
        while True:
            writer = EventWriter()
            attempts.begin()
            try:
                tries = self._attempt(target, wire, writer, request.policy, call)
                async with aclosing(tries) as batches:
                    async for events in batches:
                        yield [*head, *events] if head else events
                        head = []
            except ServiceError as error:
                if writer.has_content and (events := writer.take()):
                    yield [*head, *events]  # what came with the error is not lost
                _complete(error, target)
                failed = attempts.failed(error.error, writer.has_content)
            else:
                attempts.succeeded()
                return
            yield [*head, StreamEvent(attempt_failed=AttemptFailed(attempt=failed))]
            head = []
            await asyncio.sleep(failed.delay.ToNanoseconds() / 1e9)

    async def count_tokens(self, request: GenerateRequest, call: Call) -> CountTokensResponse:
        """An estimate: see estimate_tokens. See Generator.count_tokens."""
        self._targets.resolve(request, call)
        return CountTokensResponse(
            input_tokens=estimate_tokens(request),
            precision=CountPrecision.COUNT_PRECISION_ESTIMATED,
        )

    async def _attempt(
        self,
        target: Target,
        wire: HttpRequest,
        writer: EventWriter,
        policy: CallPolicy,
        call: Call,
    ) -> AsyncGenerator[Sequence[StreamEvent], None]:
        """One attempt. Nothing is yielded before its first content: until then it can be repeated.

        Raises:
            ServiceError: the attempt failed.
        """
        timers = Timers(policy, call.deadline)
        sending = self._transport.send(target.base_url, wire, target.headers, timers)
        async with sending as response:
            if not 200 <= response.status < 300:
                body = await response.body(MAX_ERROR_BYTES, cut=True)
                raise ServiceError(
                    target.codec.decode_error(
                        target.upstream, response.status, response.headers, body, time.time()
                    )
                )
            decoder = target.codec.decoder(target.upstream, writer)
            if not call.stream or response.is_json:
                decoder.decode(await response.body(MAX_BODY_BYTES))
                yield writer.take()
                return
            while not decoder.done and (chunk := await response.chunk()):
                decoder.feed(chunk)
                if writer.has_content:
                    timers.content()
                    if events := writer.take():
                        yield events
            decoder.end()
            yield writer.take()
            await response.linger()


def _complete(error: ServiceError, target: Target) -> None:
    """Say who failed, where the error doesn't say it yet."""
    error.error.provider = error.error.provider or target.provider
    error.error.model = error.error.model or target.model
