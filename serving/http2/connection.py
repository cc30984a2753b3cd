"""One connection: bytes <-> calls."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import zttp

from serving.http2.backpressure import Backpressure
from serving.http2.call import Call
from serving.http2.metadata import (
    CONTENT_TYPE,
    BadHeaderError,
    metadata_of,
    timeout_of,
    trailers_of,
)

if TYPE_CHECKING:
    from serving.http2.server import Http2Server

log = logging.getLogger(__name__)

_PREFACE_WITHIN = 10.0  # seconds that a connection has to begin
_PING_AFTER = 60.0  # seconds of silence after which a sign of life is asked for
_PONG_WITHIN = 20.0
_MOST_QUEUED = 64 * 1024  # bytes of one turn of the loop
_MOST_UNSENT = 4 * 1024 * 1024  # bytes; a caller who asks and never reads is left
# zttp counts a connection's streams and ends it with an error at 4096.
_MOST_STREAMS = 3800
_FAREWELL = 1.0  # seconds between "open no more streams here" and the last one that is taken
_REFUSED_STREAM, _NO_ERROR = 7, 0
_CONTENT_TYPES = (b"application/grpc", b"application/grpc+proto")
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00marsys!!"


class Connection(asyncio.Protocol):
    """A connection of a caller.

    Attributes:
        loop: the event loop.
        peer: the caller's address, as gRPC writes it.
    """

    def __init__(self, server: Http2Server, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.peer = "unknown:"
        self._paused = False
        self._queued = 0  # bytes since the last flush
        self._server = server
        self._http2: Any = zttp.Connection(zttp.SERVER, protocol=zttp.HTTP2)
        self._calls: dict[int, Call] = {}
        self._backpressure = Backpressure()
        self._transport: Any = None
        self._flushing = False
        self._leaving = False
        self._last_stream = 0
        self._streams = 0
        self._begun = False
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # What asyncio says.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.peer = _peer(transport)
        self._server.opened(self)
        self._http2.initiate_connection()
        self._flush()
        self._heard = self.loop.time()
        self._timer = self.loop.call_later(_PREFACE_WITHIN, self._look)

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        try:
            self._http2.receive_data(data)
            while (event := self._http2.next_event()) is not zttp.NEED_DATA:
                self._take(event)
        except zttp.ProtocolError as error:
            log.info("%s breaks the rules of HTTP/2: %s", self.peer, error)
            self._flush()
            self._transport.abort()
            return
        self._begun = True
        self._flush()
        self._refill()
        self._close_if_done()
        if self._transport.get_write_buffer_size() > _MOST_UNSENT:
            self._transport.abort()

    def eof_received(self) -> None:
        return None  # closes the transport

    def connection_lost(self, error: Exception | None) -> None:
        self._server.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        for call in list(self._calls.values()):
            call.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._refill()

    # What calls and the server say.

    @property
    def is_full(self) -> bool:
        """Whether messages have to wait: the socket takes nothing for now, or enough is queued."""
        return self._paused or self._queued > _MOST_QUEUED

    def queued(self, size: int) -> None:
        """Bytes of a message have been given to the HTTP/2 library: send them soon."""
        self._queued += size
        self.flush_soon()

    def flush_soon(self) -> None:
        """Send what is queued, together with what else this turn of the loop queues."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def hold(self, call: Call) -> None:
        """Let a call's caller wait: the handler doesn't read what it sends."""
        self._backpressure.hold(call.stream_id)

    def go_on(self, call: Call) -> None:
        """Let a call's caller send again."""
        credit = self._backpressure.release(call.stream_id)
        if credit and not self._transport.is_closing():
            self._transport.write(credit)

    def drop(self, call: Call) -> None:
        """Forget a call."""
        self._calls.pop(call.stream_id, None)
        self._backpressure.release(call.stream_id)

    def forget(self, call: Call) -> Callable[[asyncio.Task[None]], None]:
        """What is to be done when a call's task has ended."""

        def ended(task: asyncio.Task[None]) -> None:
            self.drop(call)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a call's task failed", exc_info=error)
            self._close_if_done()

        return ended

    def leave(self) -> None:
        """Take no new calls; close when those that run have ended."""
        if self._leaving or self._transport.is_closing():
            return
        self._leaving = True
        self._transport.write(_goaway(self._last_stream))
        self._close_if_done()

    def close(self) -> None:
        """Send what is queued, and close."""
        self._flush()
        self._transport.close()

    def cancel_calls(self) -> None:
        """End all calls that still run."""
        for call in list(self._calls.values()):
            call._refuse(grpc.StatusCode.UNAVAILABLE, "the service was stopped")

    # How it goes.

    def _take(self, event: Any) -> None:
        if isinstance(event, zttp.Request):
            self._begin(event)
        elif isinstance(event, zttp.Data):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.feed(event.data)
        elif isinstance(event, zttp.EndOfMessage):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.half_close()
        elif isinstance(event, zttp.RstStream):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.cancel()

    def _begin(self, request: Any) -> None:
        stream = self._http2.stream(request.stream_id)
        if self._leaving:
            stream.reset(_REFUSED_STREAM)
            return
        self._last_stream = request.stream_id
        self._streams += 1
        if self._streams == _MOST_STREAMS:
            # The caller goes on over another connection; what is on its way here is still taken.
            self._transport.write(_goaway(2**31 - 1))
            self.loop.call_later(_FAREWELL, self.leave)
        headers = request.headers
        if not isinstance(headers, list):
            headers = headers.to_list(lowercase_names=True)
        given = dict(headers)
        kind = given.get(b"content-type", b"")
        if request.method != b"POST":
            stream.send_response(405, [(b"allow", b"POST")], True)
            return
        if kind not in _CONTENT_TYPES:
            stream.send_response(415, [(b"accept-post", b"application/grpc")], True)
            return
        try:
            metadata = metadata_of(headers)
            text = given.get(b"grpc-timeout")
            timeout = None if text is None else timeout_of(text.decode("latin-1"))
        except BadHeaderError as error:
            trailers = trailers_of(grpc.StatusCode.INTERNAL, str(error))
            stream.send_response(200, [CONTENT_TYPE, *trailers], True)
            return
        encoding = given.get(b"grpc-encoding", b"identity").decode("latin-1")
        call = Call(
            self,
            stream,
            metadata,
            timeout,
            "" if encoding == "identity" else encoding,
            self._server.limit,
        )
        if encoding not in ("identity", "gzip"):
            call.end(
                grpc.StatusCode.UNIMPLEMENTED,
                f"messages compressed by {encoding!r} are not taken",
                [("grpc-accept-encoding", "identity,gzip")],
            )
            return
        self._calls[request.stream_id] = call
        if request.end_stream:
            call.half_close()
        self._server.serve(call, request.path.decode("latin-1"), metadata)

    def _flush(self) -> None:
        self._flushing = False
        data = self._backpressure.sift(self._http2.data_to_send())
        if data and not self._transport.is_closing():
            self._transport.write(data)
        waited = self.is_full
        self._queued = 0
        if waited:
            self._refill()

    def _refill(self) -> None:
        """Let calls go on that waited for room."""
        if self._paused:
            return
        woken = [call for call in self._calls.values() if call.refill()]
        if woken:  # whoever came first comes last next time: there may be room for one only
            self._calls[woken[0].stream_id] = self._calls.pop(woken[0].stream_id)

    def _close_if_done(self) -> None:
        """Close a connection that is left, once all answers have gone out."""
        if self._leaving and not self._calls and not self._http2.has_pending_send():
            self.close()

    def _look(self) -> None:
        """Leave a caller who never began, or is dead; ask who is silent for a sign of life."""
        silent = self.loop.time() - self._heard
        if not self._begun or silent >= _PING_AFTER + _PONG_WITHIN:
            self._transport.abort()
            return
        if silent >= _PING_AFTER:
            self._transport.write(_PING)
            wait = _PING_AFTER + _PONG_WITHIN - silent
        else:
            wait = _PING_AFTER - silent
        self._timer = self.loop.call_later(wait, self._look)


def _goaway(last_stream: int) -> bytes:
    return b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + struct.pack(">II", last_stream, _NO_ERROR)


def _peer(transport: Any) -> str:
    made = transport.get_extra_info("socket")
    name = transport.get_extra_info("peername")
    family = made.family if made is not None else None
    if family == socket.AF_UNIX:
        return "unix:"
    if family == socket.AF_INET6:
        return f"ipv6:%5B{name[0]}%5D:{name[1]}"
    return f"ipv4:{name[0]}:{name[1]}" if name else "unknown:"
