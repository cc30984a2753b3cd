"""A call that nobody waits for any more costs nothing any more: its upstream connection closes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
import trustme
from api_raw_upstream import STREAM, Answer, RawUpstream, chunked, endless, head, raw, whole
from api_upstream import Caller, Serve, ask, delta

from marsys.v1 import StreamGenerateRequest

EVENT = b"data: %s\n\n" % json.dumps(delta("word ")).encode()
SILENT = raw(hang=True)
HEADERS = raw(STREAM, hang=True)
PINGS = endless(STREAM, chunked(b": ping\n\n", end=False))
HALF = raw(STREAM, chunked(EVENT, end=False), hang=True)
FLOOD = endless(STREAM, chunked(EVENT, end=False))
HALF_BODY = raw(head("application/json", "Content-Length: 1000") + b'{"id": ', hang=True)


@pytest.fixture(params=["http", "https"])
async def either(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path: Path
) -> AsyncIterator[tuple[RawUpstream, dict[str, object]]]:
    """An upstream, plain or with TLS, and the settings with which it is reached."""
    upstream = RawUpstream()
    settings: dict[str, object] = {}
    tls = None
    if request.param == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        settings["ca_file"] = tmp_path / "ca.pem"
    await upstream.start(tls)
    settings["providers"] = {"acme": {"base_url": upstream.url}}
    yield upstream, settings
    await upstream.stop()


@pytest.mark.parametrize(
    ("answer", "stream", "reads"),
    [
        pytest.param(SILENT, False, False, id="before-headers-unary"),
        pytest.param(SILENT, True, False, id="before-headers"),
        pytest.param(HEADERS, True, False, id="before-first-token"),
        pytest.param(PINGS, True, False, id="pinging"),
        pytest.param(HALF, True, True, id="mid-stream"),
        pytest.param(FLOOD, True, True, id="mid-stream-while-it-writes"),
        pytest.param(HALF_BODY, False, False, id="unary"),
    ],
)
async def test_cancel_closes_the_connection(
    serve: Serve,
    either: tuple[RawUpstream, dict[str, object]],
    answer: Answer,
    stream: bool,
    reads: bool,
) -> None:
    upstream, settings = either
    caller = await serve(**settings)
    upstream.script(answer)
    call = start(caller, stream)
    await upstream.reached.wait()
    if reads:
        await call.read()
    call.cancel()
    await asyncio.wait_for(upstream.closed.wait(), 5)
    assert len(upstream.requests) == 1


async def test_cancel_during_back_off_sends_nothing_more(serve: Serve, wire: RawUpstream) -> None:
    caller = await serve(providers={"acme": {"base_url": wire.url}}, retry_base_delay=0.3)
    wire.script(whole(b"{}", status="503 No"))
    call = start(caller, stream=True)
    told = await call.read()
    assert told.events[0].HasField("attempt_failed")
    call.cancel()
    await asyncio.sleep(0.6)  # longer than the back-off
    assert len(wire.requests) == 1


async def test_cancel_while_connecting(serve: Serve) -> None:
    """TCP is there, and the TLS handshake is never answered."""
    reached, closed = asyncio.Event(), asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    caller = await serve(providers={"acme": {"base_url": f"https://127.0.0.1:{port}"}})
    call = start(caller, stream=False)
    await reached.wait()
    call.cancel()
    await asyncio.wait_for(closed.wait(), 5)
    server.close()


async def test_cancel_drops_what_is_not_sent_yet(serve: Serve) -> None:
    """The upstream reads nothing, so most of a large request still waits in the service."""
    size = 40_000_000
    reached, cancelled = asyncio.Event(), asyncio.Event()
    got: list[int] = []
    done = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(len(await reader.read(1000)))
        reached.set()
        await cancelled.wait()
        with suppress(ConnectionError):
            while chunk := await reader.read(1_000_000):
                got.append(len(chunk))
        done.set()
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    caller = await serve(providers={"acme": {"base_url": f"http://127.0.0.1:{port}"}})
    call = caller.inference.Generate(ask("acme/m", "x" * size))
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0.2)  # for the service to hear of it
    cancelled.set()
    await asyncio.wait_for(done.wait(), 10)
    assert sum(got) < size // 2
    server.close()


async def test_slow_callers_slow_the_upstream_down(wire_caller: Caller, wire: RawUpstream) -> None:
    """What the caller does not read stays with the upstream and does not pile up here."""
    piece = chunked(b"data: %s\n\n" % json.dumps(delta("x" * 10_000)).encode(), end=False)
    sent = 0
    stalled = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM)
        while True:
            writer.write(piece)
            try:
                await asyncio.wait_for(writer.drain(), 2)
            except TimeoutError:
                stalled.set()
                await asyncio.sleep(600)
            sent += len(piece)

    wire.script(flood)
    call = start(wire_caller, stream=True)
    await call.read()
    await asyncio.wait_for(stalled.wait(), 60)
    assert sent < 64 * 2**20
    call.cancel()
    await asyncio.wait_for(wire.closed.wait(), 5)


async def test_the_service_goes_on(wire_caller: Caller, wire: RawUpstream) -> None:
    wire.script(FLOOD, SILENT)
    for stream in (True, False):
        wire.reached.clear()
        call = start(wire_caller, stream)
        await wire.reached.wait()
        call.cancel()
    end = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(delta(finish="stop")).encode()
    wire.script(STREAM + chunked(EVENT, end))
    answer = await wire_caller.either(ask("acme/m"), stream=True)
    assert answer.message.parts[0].text.text == "word "


def start(caller: Caller, stream: bool) -> grpc.aio.Call:
    if stream:
        return caller.inference.StreamGenerate(StreamGenerateRequest(request=ask("acme/m")))
    return caller.inference.Generate(ask("acme/m"))
