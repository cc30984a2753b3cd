"""The server on a native HTTP/2 library, with gRPC's own client and with raw frames.

TEST_TRANSPORT=http2 runs the tests of services on it as well.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import psutil
import pytest

pytest.importorskip("zttp", reason="pip install 'marsys-models[http2]'")

from serving.http2.framing import FrameReader, FramingError, TooLargeError, frame
from serving.http2.metadata import BadHeaderError, metadata_of, timeout_of, trailers_of
from serving.http2.server import Http2Server

LIMIT = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Methods:
    """What the server does.

    Attributes:
        sent: messages that a handler has given away.
        ended: how handlers ended.
        contexts: what they were told of their calls.
        reads: set when `late` may read.
    """

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent = 0
        self.ended: list[str] = []
        self.contexts: list[Any] = []

    async def echo(self, request: bytes, context: Any) -> bytes:
        self.contexts.append(context)
        return request

    async def repeat(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The message, without end."""
        try:
            while True:
                self.sent += 1
                yield request
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise

    async def hang(self, request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.ended.append("CancelledError")
            raise
        return b""

    async def fail(self, request: bytes, context: Any) -> bytes:
        if request == b"bug":
            raise KeyError("a secret")
        await context.abort(grpc.StatusCode.ABORTED, "50 % and é\n")
        return b""

    async def deaf(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        """Reads nothing."""
        await asyncio.sleep(600)
        yield b""

    async def late(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Reads when it is told to; gives what it read in numbers."""
        await self.reads.wait()
        return b" ".join([b"%d:%d" % (len(one), sum(one[:1])) async for one in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()
        yield b"END"


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
async def server(methods: Methods) -> AsyncIterator[Http2Server]:
    made = Http2Server(LIMIT)
    made.handlers.add_registered_method_handlers(
        "t.T",
        {
            "Echo": grpc.unary_unary_rpc_method_handler(methods.echo),
            "Hang": grpc.unary_unary_rpc_method_handler(methods.hang),
            "Fail": grpc.unary_unary_rpc_method_handler(methods.fail),
            "Repeat": grpc.unary_stream_rpc_method_handler(methods.repeat),
            "Chat": grpc.stream_stream_rpc_method_handler(methods.chat),
            "Late": grpc.stream_unary_rpc_method_handler(methods.late),
            "Deaf": grpc.stream_stream_rpc_method_handler(methods.deaf),
        },
    )
    yield made
    await made.stop(0)


@pytest.fixture
async def address(server: Http2Server) -> str:
    return await server.listen("127.0.0.1:0")


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as opened:
        yield opened


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_messages_of_every_size(channel: grpc.aio.Channel) -> None:
    echo = channel.unary_unary("/t.T/Echo")
    for size in (0, 1, 16_384, 65_535, 65_536, LIMIT):
        message = bytes(size)
        assert await echo(message) == message
    many = await asyncio.gather(*(echo(b"%d" % n) for n in range(500)))
    assert many == [b"%d" % n for n in range(500)]


async def test_very_many_calls_over_one_channel(channel: grpc.aio.Channel) -> None:
    """More than the library takes over one connection."""
    echo = channel.unary_unary("/t.T/Echo")
    chat = channel.stream_stream("/t.T/Chat")()  # outlives the connection's last new call
    await chat.write(b"one")
    assert await chat.read() == b"ONE"
    left = 9000

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            message = b"%d" % left
            assert await echo(message) == message

    await asyncio.gather(*(call() for _ in range(32)))
    await chat.write(b"two")
    assert await chat.read() == b"TWO"
    await chat.done_writing()
    assert await chat.read() == b"END"


async def test_metadata_both_ways(channel: grpc.aio.Channel, methods: Methods) -> None:
    echo = channel.unary_unary("/t.T/Echo")
    given = (("x-request-id", "abc"), ("x-blob-bin", b"\x00\xff"), ("x-blob-bin", b""))
    await echo(b"", metadata=given, timeout=100)
    context = methods.contexts[0]
    assert set(given) <= set(context.invocation_metadata())
    assert 90 < context.time_remaining() <= 101  # gRPC rounds up what it sends
    assert context.peer().startswith("ipv4:127.0.0.1:")
    await echo(b"")
    assert methods.contexts[1].time_remaining() is None


async def test_compressed_messages(channel: grpc.aio.Channel) -> None:
    echo = channel.unary_unary("/t.T/Echo")
    assert await echo(b"a" * 5000, compression=grpc.Compression.Gzip) == b"a" * 5000
    bomb = bytes(50 * LIMIT)
    error = await failure(echo(bomb, compression=grpc.Compression.Gzip))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    error = await failure(echo(b"a" * 5000, compression=grpc.Compression.Deflate))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_both_sides_speak_at_once(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/t.T/Chat")()
    for word in (b"one", b"two"):
        await call.write(word)
        assert await call.read() == word.upper()
    await call.done_writing()
    assert await call.read() == b"END"
    assert await call.read() is grpc.aio.EOF


async def test_statuses(channel: grpc.aio.Channel) -> None:
    error = await failure(channel.unary_unary("/t.T/Fail")(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "50 % and é\n")
    error = await failure(channel.unary_unary("/t.T/Fail")(b"bug"))
    assert error.code() is grpc.StatusCode.UNKNOWN
    assert "secret" not in str(error.details())
    for path in ("/t.T/None", "/x", "/t.T/None/"):
        error = await failure(channel.unary_unary(path)(b""))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    waiting = channel.stream_stream("/t.T/None")()  # says nothing
    assert await asyncio.wait_for(waiting.code(), 20) is grpc.StatusCode.UNIMPLEMENTED


async def test_messages_over_the_limit(channel: grpc.aio.Channel) -> None:
    error = await failure(channel.unary_unary("/t.T/Echo")(bytes(LIMIT + 1)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(error.details())
    assert await channel.unary_unary("/t.T/Echo")(b"on") == b"on"


async def test_deadlines_end_handlers(channel: grpc.aio.Channel, methods: Methods) -> None:
    error = await failure(channel.unary_unary("/t.T/Hang")(b"", timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: methods.ended == ["CancelledError"])
    # Also one that waits for its caller to read.
    call = channel.unary_stream("/t.T/Repeat")(bytes(LIMIT // 2), timeout=0.3)
    await call.read()
    await until(lambda: len(methods.ended) == 2)


async def test_cancelled_calls_end_handlers(channel: grpc.aio.Channel, methods: Methods) -> None:
    call = channel.unary_unary("/t.T/Hang")(b"")
    await asyncio.sleep(0.1)
    call.cancel()
    await until(lambda: len(methods.ended) == 1)
    stream = channel.unary_stream("/t.T/Repeat")(b"x")
    await stream.read()
    stream.cancel()
    await until(lambda: len(methods.ended) == 2)


async def test_a_lost_connection_ends_handlers(address: str, methods: Methods) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/t.T/Hang")(b"")
        await asyncio.sleep(0.1)
    assert call.done()
    await until(lambda: methods.ended == ["CancelledError"])


async def test_who_does_not_read_makes_the_handler_wait(
    channel: grpc.aio.Channel, methods: Methods
) -> None:
    message = bytes(32 * 1024)
    call = channel.unary_stream("/t.T/Repeat")(message)
    await call.read()
    sent = -1
    while sent != methods.sent:
        sent = methods.sent
        await asyncio.sleep(0.3)
    assert sent * len(message) < 24 << 20  # gRPC's client takes some MB by itself
    before = methods.sent
    for _ in range(before + 10):
        assert await call.read() == message
    assert methods.sent > before
    call.cancel()


async def test_a_handler_that_does_not_read_makes_the_caller_wait(
    channel: grpc.aio.Channel, methods: Methods
) -> None:
    """Memory stays as it is, other calls of the connection go on, and nothing is lost."""
    call = channel.stream_unary("/t.T/Late")()
    sizes = [LIMIT - i for i in range(64)]
    written = 0

    async def write() -> None:
        nonlocal written
        for number, size in enumerate(sizes):
            await call.write(bytes([number]) + bytes(size - 1))
            written += 1
        await call.done_writing()

    before = psutil.Process().memory_info().rss
    writing = asyncio.create_task(write())
    for _ in range(3):
        await asyncio.sleep(0.3)
        assert await channel.unary_unary("/t.T/Echo")(b"x" * 100_000) == b"x" * 100_000
    assert written < 16
    gc.collect()
    assert psutil.Process().memory_info().rss - before < 32 << 20
    methods.reads.set()
    await writing
    expected = b" ".join(b"%d:%d" % (size, number) for number, size in enumerate(sizes))
    assert await call == expected


async def test_small_messages_that_nobody_reads(
    channel: grpc.aio.Channel, methods: Methods
) -> None:
    """Messages without a byte take memory too; all arrive once the handler reads."""
    call = channel.stream_unary("/t.T/Late")()

    async def write() -> None:
        for _ in range(30_000):
            await call.write(b"")
        await call.done_writing()

    writing = asyncio.create_task(write())
    await asyncio.sleep(1)
    methods.reads.set()
    await writing
    assert (await call).split() == [b"0:0"] * 30_000


async def test_a_caller_who_waits_can_leave(channel: grpc.aio.Channel) -> None:
    for _ in range(3):
        call = channel.stream_stream("/t.T/Deaf")()
        with suppress(asyncio.TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    await call.write(bytes(LIMIT))
        call.cancel()
        assert await channel.unary_unary("/t.T/Echo")(bytes(LIMIT)) == bytes(LIMIT)


async def test_it_leaves_when_its_calls_have_ended(
    server: Http2Server, address: str, methods: Methods
) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream("/t.T/Chat")()
        await call.write(b"one")
        await call.read()
        stopping = asyncio.create_task(server.stop(20))
        await asyncio.sleep(0.1)
        late = channel.unary_unary("/t.T/Echo")(b"late", timeout=1)
        await call.write(b"two")
        assert await call.read() == b"TWO"
        await call.done_writing()
        assert await call.read() == b"END"
        await asyncio.wait_for(stopping, 10)
        assert (await failure(late)).code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )


async def test_calls_that_go_on_are_ended(server: Http2Server, address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/t.T/Hang")(b"")
        await asyncio.sleep(0.1)
        await server.stop(0.1)
        assert (await failure(call)).code() is grpc.StatusCode.UNAVAILABLE
    assert not server.connections


# Raw frames.


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = struct.pack(">I", len(payload))[1:]
    return size + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(
    stream: int, *extra: tuple[bytes, bytes], end: bool = False, path: bytes = b"/t.T/Echo"
) -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    kinds = (
        []
        if any(n == b"content-type" for n, _ in extra)
        else [(b"content-type", b"application/grpc")]
    )
    block = b"".join(literal(n, v) for n, v in (*fields, *kinds, (b"te", b"trailers"), *extra))
    return raw(1, 5 if end else 4, stream, block)


async def said(address: str, data: bytes, seconds: float = 0.5) -> tuple[bytes, bool]:
    """What the server answers to bytes, and whether it closed the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + raw(4, 0, 0) + data)
    answer, closed = b"", False
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(65536):
                answer += chunk
            closed = True
    writer.close()
    return answer, closed


def ask(stream: int, path: bytes, message: bytes) -> bytes:
    """A call of one message; its end is yet to come."""
    data = frame(message)
    pieces = [data[at : at + 16384] for at in range(0, len(data), 16384)]
    return head(stream, path=path) + b"".join(raw(0, 0, stream, piece) for piece in pieces)


async def test_a_wide_window_is_not_filled_at_once(address: str, methods: Methods) -> None:
    """A caller allows very much and reads slowly: handlers wait, and get on in turn."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    most = (2**31 - 1).to_bytes(4, "big")
    size = 30_000
    writer.write(PREFACE + raw(4, 0, 0, b"\x00\x04" + most) + raw(8, 0, 0, b"\x7f\xff\x00\x00"))
    for stream, path in ((1, b"/t.T/Repeat"), (3, b"/t.T/Repeat"), (5, b"/t.T/Echo")):
        writer.write(ask(stream, path, bytes(size)) + raw(0, 1, stream))
    sent = -1
    while sent != methods.sent:
        sent = methods.sent
        await asyncio.sleep(0.3)
    assert sent * size < 16 << 20  # the sockets' buffers
    writer.write(raw(6, 0, 0, bytes(8)))
    taken = {1: 0, 3: 0, 5: 0}
    while not taken[5] or taken[1] + taken[3] < 40 << 20:
        begin = await reader.readexactly(9)
        length, stream = int.from_bytes(begin[:3], "big"), int.from_bytes(begin[5:], "big")
        await reader.readexactly(length)
        if begin[3] == 0:
            taken[stream] += length
    assert min(taken[1], taken[3]) > 10 << 20
    writer.close()


@pytest.mark.parametrize("stops", [True, False], ids=["server stops", "call fails"])
async def test_what_was_begun_is_said_before_the_end(
    address: str, server: Http2Server, stops: bool
) -> None:
    """A caller gives no credit for a while; meanwhile the server stops, or the call can't go on."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + raw(4, 0, 0) + raw(8, 0, 0, b"\x7f\xff\x00\x00"))
    writer.write(ask(1, b"/t.T/Chat", bytes(200_000)))
    await asyncio.sleep(0.3)
    stopping = asyncio.create_task(server.stop(5)) if stops else None
    writer.write(raw(0, 1, 1, b"" if stops else b"\x07\x00\x00\x00\x00"))
    await asyncio.sleep(0.3)
    writer.write(raw(8, 0, 1, b"\x00\x10\x00\x00"))
    answer, messages, ended = FrameReader(LIMIT), [], False
    while not ended:
        begin = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(begin[:3], "big"))
        if begin[3] == 0:
            messages += answer.feed(payload)
        ended = begin[3] == 1 and bool(begin[4] & 1)
    assert messages[0] == bytes(200_000)
    assert not answer.pending
    assert (messages[1:] == [b"END"]) is stops
    writer.close()
    if stopping is not None:
        await stopping


@pytest.mark.parametrize(
    "data",
    [
        head(1, (b"content-type", b"text/html"), end=True),
        head(1, (b"grpc-timeout", b"1x"), end=True),
        head(1, (b"a-bin", b"*"), end=True),
        head(1, end=True),
        head(1) + raw(0, 1, 1, b"\x00\x00\x00\x00\x09cut"),
        head(1) + raw(0, 1, 1, b"\x07\x00\x00\x00\x00"),
        head(1) + raw(0, 1, 1, b"\x01\x00\x00\x00\x01x"),
        head(1) + raw(0, 1, 1, frame(b"a") + frame(b"b")),
        head(1) + raw(0, 0, 1, b"\x00\xff\xff\xff\xff"),
    ],
    ids=["type", "timeout", "base64", "nothing", "cut", "flag", "packed", "two", "huge"],
)
async def test_nonsense_in_a_call_ends_the_call_only(
    address: str, channel: grpc.aio.Channel, data: bytes
) -> None:
    answer, closed = await said(address, data)
    assert len(answer) > 40
    assert not closed
    assert await channel.unary_unary("/t.T/Echo")(b"on") == b"on"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        raw(0, 0, 0, b"x"),
        raw(8, 0, 0, b"\x7f\xff\xff\xff"),
        b"".join(head(2 * n + 1) + raw(3, 0, 2 * n + 1, b"\0\0\0\x08") for n in range(2000)),
        head(1)[:3]
        + bytes([1, 0])
        + head(1)[5:]
        + b"".join(raw(9, 0, 1, b"x" * 99) for _ in range(999)),
        raw(4, 0, 0, b"\x00\x05\x00\x00\x00\x00"),
        raw(99, 0, 0)[:3] + b"\xff" * 2,
    ],
    ids=["http1", "stream0", "window", "resets", "continuations", "settings", "cut"],
)
async def test_nonsense_in_a_connection_ends_that_connection(
    address: str, channel: grpc.aio.Channel, server: Http2Server, data: bytes
) -> None:
    echo = channel.unary_unary("/t.T/Echo")
    await echo(b"first")
    await said(address, data)
    assert await echo(b"on") == b"on"
    await until(lambda: len(server.connections) == 1)


async def test_who_asks_and_never_reads_is_left(address: str, server: Http2Server) -> None:
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(PREFACE + raw(4, 0, 0))
    ping = raw(6, 0, 0, b"12345678") * 4000
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(15):
            while True:
                writer.write(ping)
                await writer.drain()
    writer.close()
    await until(lambda: not server.connections)


async def test_a_socket_file_left_behind_is_no_hindrance(tmp_path: Any, methods: Methods) -> None:
    path = f"unix:{tmp_path}/s.sock"
    for _ in range(2):
        server = Http2Server(LIMIT)
        server.handlers.add_registered_method_handlers(
            "t.T", {"Echo": grpc.unary_unary_rpc_method_handler(methods.echo)}
        )
        await server.listen(path)
        with pytest.raises(OSError, match="in use"):
            await Http2Server(LIMIT).listen(path)
        options = [("grpc.use_local_subchannel_pool", 1)]  # else it may take the last connection
        async with grpc.aio.insecure_channel(path, options=options) as channel:
            assert await channel.unary_unary("/t.T/Echo")(b"x") == b"x"
        assert methods.contexts[-1].peer() == "unix:"
        server._path = None  # as if it was killed
        await server.stop(0)


# Pieces.


def test_frames_in_any_pieces() -> None:
    packed = gzip.compress(b"packed")
    whole = frame(b"") + frame(b"abc") + b"\x01" + struct.pack(">I", len(packed)) + packed
    for size in range(1, len(whole) + 1):
        reader = FrameReader(100, "gzip")
        got = [m for i in range(0, len(whole), size) for m in reader.feed(whole[i : i + size])]
        assert got == [b"", b"abc", b"packed"]
        assert not reader.pending
    with pytest.raises(TooLargeError):
        FrameReader(2).feed(frame(b"abc")[:5])
    for bad in (packed[:-1], packed + b"x", b"none"):
        with pytest.raises(FramingError):
            FrameReader(100, "gzip").feed(b"\x01" + struct.pack(">I", len(bad)) + bad)


def test_headers() -> None:
    assert [timeout_of(t) for t in ("1H", "2M", "3S", "4m", "5u", "6n", "0S")] == pytest.approx(
        [3600, 120, 3, 4e-3, 5e-6, 6e-9, 0]
    )
    for bad in ("", "S", "1", "1.5S", "-1S", "123456789S", "1s", "1S "):
        with pytest.raises(BadHeaderError):
            timeout_of(bad)
    assert metadata_of([(b"te", b"trailers"), (b"a-bin", b"AP8, AA==")]) == (
        ("a-bin", b"\x00\xff"),
        ("a-bin", b"\x00"),
    )
    assert trailers_of(grpc.StatusCode.INTERNAL, "é%", [("d-bin", b"\xff"), ("x", "y")]) == [
        (b"grpc-status", b"13"),
        (b"grpc-message", b"%C3%A9%25"),
        (b"d-bin", b"/w"),
        (b"x", b"y"),
    ]
