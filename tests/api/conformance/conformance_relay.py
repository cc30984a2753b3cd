"""A relay between api_service and a fake provider: bytes pass as they are, what went up is kept."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_END_OF_HEAD = b"\r\n\r\n"


class Relay:
    """Listens on a free port while it is entered.

    Attributes:
        left: set when the service closes a connection that the fake has not closed.
    """

    def __init__(self, url: str) -> None:
        """Make a relay to the fake at `url`."""
        self.left = asyncio.Event()
        self._target = urlsplit(url)
        self._sent: list[bytearray] = []  # of each connection
        self._ends: list[asyncio.StreamWriter] = []
        self._pipes: list[asyncio.Task[bool]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._target._replace(netloc=f"127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def bodies(self) -> list[Any]:
        """The JSON bodies that the service sent, in order; requests without one are left out."""
        return [json.loads(body) for sent in self._sent for body in _bodies(bytes(sent)) if body]

    async def _accept(self, down: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._ends += [up, writer]
        sent = bytearray()
        self._sent.append(sent)
        asks = asyncio.create_task(_pump(down, writer, sent))
        answers = asyncio.create_task(_pump(reader, up, None))
        self._pipes += [asks, answers]
        await asyncio.wait((asks, answers), return_when=asyncio.FIRST_COMPLETED)
        # Both may have ended at once, where the service left while more was on its way to it.
        if not answers.done() or not answers.result():
            self.left.set()
        up.close()
        writer.close()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bytearray | None
) -> bool:
    """Pass bytes on until the source's end. Returns whether that came, and nothing broke."""
    try:
        while data := await source.read(65536):
            if keep is not None:
                keep += data
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        return False
    return True


def _bodies(sent: bytes) -> list[bytes]:
    bodies = []
    while _END_OF_HEAD in sent:
        head, _, sent = sent.partition(_END_OF_HEAD)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            assert name.lower() != b"transfer-encoding", "requests come with their length"
            if name.lower() == b"content-length":
                length = int(value)
        bodies.append(sent[:length])
        sent = sent[length:]
    return bodies
