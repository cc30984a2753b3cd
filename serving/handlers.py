"""The gRPC side of every handler: request ids, errors to statuses, logging, event numbering."""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar

import grpc

from marsys.rpc.reasons import reason_name
from marsys.rpc.status import to_call_status
from marsys.stream import Fold
from marsys.v1 import (
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    CountTokensResponse,
    ErrorReason,
    GenerateRequest,
    GenerateResponse,
    StreamGenerateRequest,
    StreamGenerateResponse,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceServicer
from serving import logs
from serving.call_context import CallContext
from serving.conversation_limits import ConversationLimits
from serving.dialogue import Dialogue
from serving.drain import Drain
from serving.errors import ServiceError, invalid, service_error
from serving.event_numbers import EventNumbers
from serving.generator import Call, Generator
from serving.validation import validate

log = logging.getLogger(__name__)

Context = CallContext
T = TypeVar("T")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def call_of(context: Context, *, stream: bool = False) -> Call:
    """What a generator may know of a call. Sets the request id of the task's log lines.

    The caller may choose the id (metadata `x-request-id`, 1 to 64 of [A-Za-z0-9._-]).
    """
    request_id = ""
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            request_id = value
    request_id = request_id or os.urandom(16).hex()
    logs.request_id.set(request_id)
    left = context.time_remaining()
    deadline = None if left is None else time.monotonic() + left
    return Call(request_id=request_id, peer=context.peer(), deadline=deadline, stream=stream)


def unary_rpc(method: Callable[[Any, Any, Context], Awaitable[T]]) -> Any:
    """Decorator of a unary servicer method: it may raise ServiceError."""

    @functools.wraps(method)
    async def handler(self: Any, request: Any, context: Context) -> T:
        call = call_of(context)
        try:
            return await method(self, request, context)
        except Exception as error:
            await _abort(context, call, error)

    return handler


def stream_rpc(method: Callable[[Any, Any, Context], AsyncIterator[T]]) -> Any:
    """Decorator of a server-streaming servicer method: it may raise ServiceError."""

    @functools.wraps(method)
    async def handler(self: Any, request: Any, context: Context) -> AsyncIterator[T]:
        call = call_of(context, stream=True)
        try:
            async for response in method(self, request, context):
                yield response
        except Exception as error:
            await _abort(context, call, error)

    return handler


class InferenceServicer(InferenceServiceServicer):
    """Serves InferenceService over a Generator.

    Args:
        generator: turns requests into events.
        drain: counts the running calls; refuses new ones once the service is closing.
        conversations: bounds conversations.
    """

    def __init__(
        self,
        generator: Generator,
        drain: Drain | None = None,
        conversations: ConversationLimits | None = None,
    ) -> None:
        self._generator = generator
        self._drain = drain or Drain()
        self._conversations = conversations or ConversationLimits()

    async def Generate(self, request: GenerateRequest, context: Context) -> GenerateResponse:
        call = call_of(context)
        try:
            with self._drain:
                validate(request)
                fold = Fold()
                numbers = EventNumbers(call)
                async with aclosing(self._events(request, call)) as batches:
                    async for events in batches:
                        for event in numbers.put(events):
                            fold.add(event)
                return fold.result()
        except Exception as error:
            await _abort(context, call, error)

    async def StreamGenerate(
        self, request: StreamGenerateRequest, context: Context
    ) -> AsyncIterator[StreamGenerateResponse]:
        call = call_of(context, stream=True)
        try:
            with self._drain:
                validate(_inner(request))
                numbers = EventNumbers(call)
                async with aclosing(self._events(request.request, call)) as batches:
                    async for events in batches:
                        if events:
                            yield StreamGenerateResponse(events=numbers.put(events))
                numbers.check_end()
        except Exception as error:
            await _abort(context, call, error)

    async def Converse(
        self, request_iterator: AsyncIterator[ConverseRequest], context: Context
    ) -> AsyncIterator[ConverseResponse]:
        call = call_of(context, stream=True)
        try:
            with self._drain, self._conversations.one():
                dialogue = Dialogue(self._generator, self._drain, self._conversations, call)
                async with aclosing(dialogue.run(request_iterator)) as responses:
                    async for response in responses:
                        yield response
        except Exception as error:
            await _abort(context, call, error)

    async def CountTokens(
        self, request: CountTokensRequest, context: Context
    ) -> CountTokensResponse:
        call = call_of(context)
        try:
            with self._drain:
                validate(_inner(request))
                return await self._generator.count_tokens(request.request, call)
        except Exception as error:
            await _abort(context, call, error)

    def _events(self, request: GenerateRequest, call: Call) -> Any:
        """The generator's batches of events: an async generator, which must be closed."""
        return self._generator.generate(request, call)


def _inner(request: StreamGenerateRequest | CountTokensRequest) -> GenerateRequest:
    if not request.HasField("request"):
        raise invalid("request", "must be set")
    return request.request


async def _abort(context: Context, call: Call, error: Exception) -> NoReturn:
    """End the call with the status that the error means."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, ServiceError):
        log.exception("unexpected %s", type(error).__name__)
        error = service_error(
            ErrorReason.ERROR_REASON_INTERNAL,
            f"unexpected {type(error).__name__}; see the service's log for {call.request_id}",
        )
    else:
        log.info("%s: %s", reason_name(error.error.reason), error.error.message)
    await context.abort_with_status(to_call_status(error.error, call.request_id))
    raise AssertionError("abort_with_status returned")
