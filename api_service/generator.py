"""The way of a request: resolve, encode, send, decode; again where an attempt failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, closing

from api_service.exchange import Exchanges
from api_service.file_uris import refuse_file_uris
from api_service.learned import Learned
from api_service.prices import cost_of
from api_service.providers.codec import HttpRequest, TokenCounter
from api_service.providers.token_estimate import estimate_tokens
from api_service.retry import Attempts, Backoff
from api_service.target import Target, Targets
from api_service.transport import MAX_BODY_BYTES, Transport
from marsys.v1 import (
    AttemptFailed,
    CallPolicy,
    CountPrecision,
    CountTokensResponse,
    GenerateRequest,
    ModelError,
    StreamEvent,
)
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call

_MOST_CORRECTIONS = 4
_NO_SUCH_ADDRESS = (404, 405, 501)


class RemoteGenerator:
    """Generates with remote providers. See serving.generator.Generator.

    Args:
        targets: finds providers.
        transport: times what goes to them.
        exchanges: reaches them.
        backoff: the waits between attempts.
    """

    def __init__(
        self, targets: Targets, transport: Transport, exchanges: Exchanges, backoff: Backoff
    ) -> None:
        self._targets = targets
        self._transport = transport
        self._exchanges = exchanges
        self._backoff = backoff
        self._learned = Learned()

    async def generate(
        self, request: GenerateRequest, call: Call
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        """See Generator.generate."""
        target = self._learned.apply(self._targets.resolve(request, call), request)
        wire, head = _encode(request, target, call)  # warnings are sent with what comes first
        told = head
        attempts = Attempts(
            target.upstream.row, target.model, request.policy, call.deadline, self._backoff
        )
        corrections = 0
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
                seen = writer.has_content and not _is_held(target, call)
                if seen and (events := writer.take()):
                    yield [*head, *events]  # what came with the error is not lost
                    head = []
                _complete(error, target)
                better = None
                if not seen and corrections < _MOST_CORRECTIONS:
                    better = self._learned.learn(target, request, error.error)
                if better is None:
                    failed = attempts.failed(error.error, seen)
                else:
                    failed = attempts.corrected(error.error)
            else:
                attempts.succeeded()
                return
            yield [*head, StreamEvent(attempt_failed=AttemptFailed(attempt=failed))]
            head = []
            if better is not None:
                corrections += 1
                target = better
                wire, more = _encode(request, target, call)
                head = [event for event in more if event not in told]
            else:
                await asyncio.sleep(failed.delay.ToNanoseconds() / 1e9)

    async def count_tokens(self, request: GenerateRequest, call: Call) -> CountTokensResponse:
        """The provider's count, else an estimate (estimate_tokens). See Generator.count_tokens."""
        target = self._learned.apply(self._targets.resolve(request, call), request)
        codec = target.codec
        if not isinstance(codec, TokenCounter) or not target.upstream.row.counts_tokens:
            return _estimate(request)
        refuse_file_uris(request)
        wire = codec.encode_count(request, target.upstream, EventWriter())
        try:
            body = await self._fetch(target, wire, request.policy, call)
        except ServiceError as error:
            if not _is_missing(error.error):
                raise
            return _estimate(request)
        return CountTokensResponse(
            input_tokens=codec.decode_count(target.upstream, body),
            precision=CountPrecision.COUNT_PRECISION_EXACT,
        )

    async def _fetch(
        self, target: Target, wire: HttpRequest, policy: CallPolicy, call: Call
    ) -> bytes:
        """The body of a response that is no generation.

        Raises:
            ServiceError: all attempts failed.
        """
        row = target.upstream.row
        attempts = Attempts(row, target.model, policy, call.deadline, self._backoff)
        while True:
            attempts.begin()
            try:
                timers = self._transport.timers(policy, call.deadline, stream=False)
                with closing(await self._exchanges.open(target, wire, timers)) as answer:
                    return await answer.response.body(MAX_BODY_BYTES)
            except ServiceError as error:
                _complete(error, target)
                failed = attempts.failed(error.error, has_content=False)
            await asyncio.sleep(failed.delay.ToNanoseconds() / 1e9)

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
        stream = _streams(target, call)
        timers = self._transport.timers(policy, call.deadline, stream)
        with closing(await self._exchanges.open(target, wire, timers)) as answer:
            response = answer.response
            response.check_type()
            decoder = target.codec.decoder(answer.upstream, writer)
            if not stream or response.is_json:
                decoder.decode(await response.body(MAX_BODY_BYTES))
                yield _priced(writer, target)
                return
            held = _is_held(target, call)
            while not decoder.done and (chunk := await response.chunk()):
                decoder.feed(chunk)
                if held:
                    if writer.has_content and not timers.has_content:
                        timers.content()
                elif writer.has_content and (events := writer.take()):
                    if not timers.has_content and any(map(_is_content, events)):
                        timers.content()
                    yield events
            decoder.end()
            yield _priced(writer, target)
            await response.linger()


def _encode(
    request: GenerateRequest, target: Target, call: Call
) -> tuple[HttpRequest, Sequence[StreamEvent]]:
    """The provider's request, and the warnings about it."""
    writer = EventWriter()
    refuse_file_uris(request)
    wire = target.codec.encode(request, target.upstream, _streams(target, call), writer)
    return wire, writer.take()


def _streams(target: Target, call: Call) -> bool:
    """Whether the provider is asked for a stream."""
    return call.stream or target.upstream.row.stream_only


def _is_held(target: Target, call: Call) -> bool:
    """Whether a stream is held back till its end: nobody reads it as it comes, so that it can be
    repeated until then."""
    return target.upstream.row.stream_only and not call.stream


def _is_content(event: StreamEvent) -> bool:
    """Whether the model has said something: a part that has begun may stay empty for minutes."""
    return event.HasField("part_delta") or event.HasField("part_finished")


def _priced(writer: EventWriter, target: Target) -> Sequence[StreamEvent]:
    """The last events of an answer, with what it cost where only the price list knows."""
    events = writer.take()
    if events and events[-1].HasField("finished"):
        finished = events[-1].finished
        if finished.HasField("usage") and not finished.HasField("cost"):
            price_list = target.upstream.row.price_list
            cost = cost_of(price_list, writer.model, finished.usage) or cost_of(
                price_list, target.model, finished.usage
            )
            if cost is not None:
                finished.cost.CopyFrom(cost)
    return events


def _estimate(request: GenerateRequest) -> CountTokensResponse:
    return CountTokensResponse(
        input_tokens=estimate_tokens(request),
        precision=CountPrecision.COUNT_PRECISION_ESTIMATED,
    )


def _is_missing(error: ModelError) -> bool:
    """Whether a server that acts as the provider has no such address; else it names the model."""
    return error.http_status in _NO_SUCH_ADDRESS and error.model not in error.message


def _complete(error: ServiceError, target: Target) -> None:
    """Say who failed, where the error doesn't say it yet."""
    error.error.provider = error.error.provider or target.provider
    error.error.model = error.error.model or target.model
