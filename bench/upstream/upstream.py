"""What upstream.c does, for machines without a C compiler: `python upstream.py CHUNKS DELAY_MS`.

Same paths, same answers; but uvloop joins what is written at once, and it is slower: latencies
beside it mean little.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar

import uvloop

_ABOUT = b'"created":1750000000,"model":"bench-model","choices":['
_USAGE = b'"usage":{"prompt_tokens":25,"completion_tokens":100,"total_tokens":125}'
_ID = b'{"id":"chatcmpl-bench","object":"chat.completion'
_BODY = (
    _ID + b'",' + _ABOUT + b'{"index":0,"message":{"role":"assistant","content":"'
    + b"The quick brown fox jumps over it. " * 12
    + b'","refusal":null},"finish_reason":"stop"}],' + _USAGE + b"}"
)  # fmt: skip
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(choice: bytes) -> bytes:
    return b"data: " + _ID + b'.chunk",' + _ABOUT + choice + b"]}\n\n"


def _framed(events: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(events), events)


_EVENT = _event(b'{"index":0,"delta":{"content":" token"},"finish_reason":null}')
_CHUNK = _framed(_EVENT)
_TEN = _framed(_EVENT * 10)
_LAST = (
    _framed(
        _event(b'{"index":0,"delta":{},"finish_reason":"stop"}')
        + (b"data: " + _ID + b'.chunk",' + _ABOUT + b"]," + _USAGE + b"}\n\n")
        + b"data: [DONE]\n\n"
    )
    + b"0\r\n\r\n"
)


class Provider(asyncio.Protocol):
    """One connection."""

    chunks: ClassVar[int]
    delay: ClassVar[float]  # seconds

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        _, found, length = head.lower().partition(b"\r\ncontent-length:")
        if not end or (found and len(body) < int(length.partition(b"\r\n")[0])):
            return
        self._received = b""
        if b'"stream":true' not in body:
            self._transport.write(_WHOLE)
            return
        self._transport.write(_HEAD)
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/paced"):
            asyncio.get_running_loop().call_later(self.delay, self._pace, self.chunks)
        elif path.startswith(b"/single"):
            for _ in range(self.chunks):
                self._transport.write(_CHUNK)
            self._transport.write(_LAST)
        else:
            tens, ones = divmod(self.chunks, 10)
            for part in (*[_TEN] * tens, *[_CHUNK] * ones, _LAST):
                self._transport.write(part)

    def _pace(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_CHUNK if left else _LAST)
        if left:
            asyncio.get_running_loop().call_later(self.delay, self._pace, left - 1)


async def main() -> None:
    chunks, delay_ms = sys.argv[1:]
    Provider.chunks, Provider.delay = int(chunks), int(delay_ms) / 1000
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
