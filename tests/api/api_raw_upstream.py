"""An upstream that writes bytes as it is told, for what a well-behaved HTTP server can't do."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawUpstream:
    """Reads each request, then lets the answer write. The connection is closed after an answer,
    unless the answer keeps it for the next request (`keep`).

    Attributes:
        url: base URL.
        answers: what is answered, in turn; the last one stays.
        keep: whether further requests are read from a connection.
        connections: connections so far.
        requests: the requests so far, heads and bodies.
        reached: set when a request has come.
        closed: set when a caller closed a connection.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Answer] = []
        self.keep = False
        self.connections = 0
        self.requests: list[bytes] = []
        self.reached = asyncio.Event()
        self.closed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{port}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def script(self, *answers: Answer | bytes) -> None:
        self.answers = [raw(one) if isinstance(one, bytes) else one for one in answers]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            while True:
                self.requests.append(await read_request(reader))
                self.reached.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                answering = asyncio.ensure_future(answer(reader, writer))
                gone = asyncio.ensure_future(_gone(reader, writer))
                try:
                    await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if gone.done() or writer.transport.is_closing():
                        self.closed.set()
                        return
                    await answering
                finally:
                    for each in (answering, gone):
                        each.cancel()
                        with suppress(asyncio.CancelledError, ConnectionError):
                            await each
                if not self.keep:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed.set()
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def _gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Returns when the caller has closed the connection."""
    while not (reader.at_eof() or reader.exception() or writer.transport.is_closing()):
        await asyncio.sleep(0.001)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + await reader.readexactly(length)


def raw(*pieces: bytes, hang: bool = False, reset: bool = False) -> Answer:
    """Writes pieces as they are; then closes, hangs, or resets the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hang:
            await asyncio.sleep(600)
        if reset:
            transport: asyncio.WriteTransport = writer.transport
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            transport.abort()

    return answer


def endless(head: bytes, piece: bytes) -> Answer:
    """Writes a head, then a piece again and again, until the caller hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.transport.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # drain may return at once, also when the caller is gone

    return answer


def head(kind: str = "application/json", *lines: str, status: str = "200 OK") -> bytes:
    """Status line and headers."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", ""]).encode()


def whole(
    body: bytes, kind: str = "application/json", *lines: str, status: str = "200 OK"
) -> bytes:
    """A whole answer."""
    return head(kind, f"Content-Length: {len(body)}", *lines, status=status) + body


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    """A chunked body."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + (b"0\r\n\r\n" if end else b"")


STREAM = head("text/event-stream", "Transfer-Encoding: chunked")
"""The head of a chunked event stream."""
