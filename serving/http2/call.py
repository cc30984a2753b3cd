"""One call: its messages, its handler, its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from serving.http2.framing import FrameReader, FramingError, TooLargeError, frame
from serving.http2.handlers import Handler
from serving.http2.metadata import CONTENT_TYPE, Metadata, trailers_of

if TYPE_CHECKING:
    from serving.http2.connection import Connection

log = logging.getLogger(__name__)

_PARKED = 64 * 1024  # bytes that may wait for the caller to read; then the handler waits
_PIECE = 64 * 1024  # bytes that a message may send before it asks again whether there is room
_UNREAD = 64 * 1024  # bytes that may wait for the handler to read; then the caller waits
_EACH = 64  # bytes that a message takes besides its own
_STRAY = 1024 * 1024  # bytes that a window of the smallest messages takes
_NO_ERROR, _CANCEL = 0, 8  # of HTTP/2


class Call:
    """A call; also what its handler knows of it (serving.call_context.CallContext).

    Args:
        connection: what carries it.
        stream: zttp's handle of the stream.
        metadata: the caller's.
        timeout: seconds that the caller gives it; None: without end.
        encoding: how the caller's messages are compressed; "": not at all.
        limit: most bytes of a message, either way.
    """

    __slots__ = (
        "_arrived", "_buffered", "_code", "_connection", "_credit", "_deadline", "_details",
        "_ended", "_extra", "_half_closed", "_held", "_limit", "_metadata", "_reader", "_rest",
        "_started", "_stream", "_task", "_timer", "_wakes", "stream_id",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        stream: Any,
        metadata: Metadata,
        timeout: float | None,
        encoding: str,
        limit: int,
    ) -> None:
        self.stream_id: int = stream.stream_id
        self._connection = connection
        self._stream = stream
        self._metadata = metadata
        self._limit = limit
        self._reader = FrameReader(limit, encoding)
        self._arrived: deque[bytes] = deque()
        self._buffered = 0
        self._held = False  # whether the caller waits for the handler
        self._half_closed = False
        self._wakes: asyncio.Future[None] | None = None
        self._credit: asyncio.Future[None] | None = None
        self._started = False  # whether headers have gone out
        self._rest: tuple[bytes, int] | None = None  # a message that waits, and how far it went
        self._ended = False  # whether nothing more may go out
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._extra: Any = ()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
            self._timer = connection.loop.call_later(timeout, self._on_deadline)

    # What the handler sees.

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def peer(self) -> str:
        return self._connection.peer

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        self._code, self._details, self._extra = code, details, trailing_metadata
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    # What the connection says.

    def start(self, handler: Handler) -> None:
        """Run the handler."""
        if self._ended:  # while it was looked for
            self._connection.drop(self)
            return
        self._task = self._connection.loop.create_task(self._run(handler))
        self._task.add_done_callback(self._connection.forget(self))

    def feed(self, data: bytes) -> None:
        """Bytes of messages have come."""
        if self._ended:
            return
        try:
            for message in self._reader.feed(data):
                self._arrived.append(message)
                self._buffered += len(message) + _EACH
        except TooLargeError as error:
            self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except FramingError as error:
            self._refuse(grpc.StatusCode.INTERNAL, str(error))
        else:
            if self._buffered > _UNREAD and not self._held:
                self._held = True
                self._connection.hold(self)
            # Compressed messages may be much larger than the credit that they took.
            if self._buffered > 2 * self._limit + _STRAY:
                self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "messages come faster than read")
            self._wake()

    def half_close(self) -> None:
        """The caller has no more messages."""
        if self._reader.pending:
            self._refuse(grpc.StatusCode.INTERNAL, "the last message is cut off")
        self._half_closed = True
        self._wake()

    def cancel(self) -> None:
        """The caller, or the connection, is gone."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
        elif self._timer is not None:
            self._timer.cancel()

    def refill(self) -> bool:
        """There may be room again. Returns whether the call waited for it and goes on."""
        if self._credit is None or not (self._ended or not self._is_full()):
            return False
        _resolve(self._credit)
        self._credit = None
        return True

    # How it goes.

    async def _run(self, handler: Handler) -> None:
        try:
            await self._handle(handler)
        except asyncio.CancelledError:
            if not self._ended:  # neither caller nor deadline: the server stops
                self.end(grpc.StatusCode.UNAVAILABLE, "the service was stopped")
            raise
        except grpc.aio.AbortError:
            self.end(self._code or grpc.StatusCode.UNKNOWN, self._details, self._extra)
        except Exception as error:
            if not self._ended:
                log.exception("unexpected %s in a handler", type(error).__name__)
                self.end(grpc.StatusCode.UNKNOWN, f"unexpected {type(error).__name__}")
        else:
            self.end(grpc.StatusCode.OK)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _handle(self, handler: Handler) -> None:
        decode = handler.request_deserializer or bytes
        encode = handler.response_serializer or bytes
        taken: Any
        if handler.request_streaming:
            taken = self._requests(decode)
        else:
            message = await self._next()
            if message is None:
                await self.abort(grpc.StatusCode.UNIMPLEMENTED, "the request is missing")
            if await self._next() is not None:
                await self.abort(grpc.StatusCode.UNIMPLEMENTED, "there is more than one request")
            taken = self._decoded(decode, message)
        if not handler.response_streaming:
            method = handler.stream_unary if handler.request_streaming else handler.unary_unary
            await self._write(encode(await method(taken, self)))
            return
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        async with aclosing(method(taken, self)) as answers:
            async for answer in answers:
                await self._write(encode(answer))

    def _decoded(self, decode: Any, message: bytes) -> Any:
        try:
            return decode(message)
        except Exception as error:
            self._code = grpc.StatusCode.INTERNAL
            self._details = "the request is no message of its type"
            raise grpc.aio.AbortError(self._details) from error

    async def _requests(self, decode: Any) -> AsyncIterator[Any]:
        while (message := await self._next()) is not None:
            yield self._decoded(decode, message)

    async def _next(self) -> bytes | None:
        """The next message; None: the caller has no more."""
        while not self._arrived:
            if self._half_closed:
                return None
            self._wakes = self._connection.loop.create_future()
            await self._wakes
        message = self._arrived.popleft()
        self._buffered -= len(message) + _EACH
        if self._held and self._buffered <= _UNREAD:
            self._held = False
            self._connection.go_on(self)
        return message

    async def _write(self, message: bytes) -> None:
        """Send a message, once there is room for it."""
        if len(message) > self._limit:
            text = f"Sent message larger than max ({len(message)} vs. {self._limit})"
            await self.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        data = frame(message)
        for start in range(0, len(data), _PIECE):
            while not self._ended and self._is_full():
                self._rest = data, start
                self._credit = self._connection.loop.create_future()
                self._connection.flush_soon()
                await self._credit
            if self._ended:
                return
            self._rest = None
            if not self._started:
                self._started = True
                self._stream.send_response(200, [CONTENT_TYPE])
            piece = data if len(data) <= _PIECE else data[start : start + _PIECE]
            self._stream.send_data(piece)
            self._connection.queued(len(piece))

    def _is_full(self) -> bool:
        return self._connection.is_full or (self._stream.pending_bytes or 0) > _PARKED

    def end(self, code: grpc.StatusCode, details: str = "", extra: Any = ()) -> None:
        """Send the status. Does nothing once the call has ended."""
        if self._ended:
            return
        self._ended = True
        if self._rest is not None and self._rest[1]:  # a message can't be left half said
            data, start = self._rest
            self._stream.send_data(data[start:])
        trailers = trailers_of(code, details, extra)
        if self._started:
            self._stream.end_message(trailers)
        else:
            self._stream.send_response(200, [CONTENT_TYPE, *trailers], True)
        if not self._half_closed and not self._stream.pending_bytes:  # a reset would drop them
            self._stream.reset(_NO_ERROR)  # what the caller still sends is not read
        self._connection.flush_soon()

    def _refuse(self, code: grpc.StatusCode, details: str) -> None:
        """End a call that can't go on, and its handler."""
        self.end(code, details)
        if self._task is not None:
            self._task.cancel()

    def _on_deadline(self) -> None:
        self._refuse(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")

    def _wake(self) -> None:
        if self._wakes is not None:
            _resolve(self._wakes)
            self._wakes = None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
