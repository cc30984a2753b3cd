"""The load generator counts right, and takes no answer for whole that isn't."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.calls import CHUNKS, http_call
from bench.load import Call, Load
from bench.upstream import Upstream, upstream

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc")), reason="the load generator is in C"
)


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream(CHUNKS, 1) as running:
        yield running


@pytest.fixture(params=[pytest.param("c", marks=needs_compiler), "python"])
def load(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    if request.param == "python":
        monkeypatch.setenv("PATH", "")
    return Load(tmp_path)


@needs_compiler
@pytest.mark.parametrize("way", ["burst", "single", "paced"])
@pytest.mark.parametrize("stream", [False, True])
def test_http(provider: Upstream, tmp_path: Path, way: str, stream: bool) -> None:
    call = http_call(f"/{way}/v1/chat/completions", "m", stream)
    loaded = Load(tmp_path).run(provider.address, call, 8, 24)
    assert len(loaded.took) == len(loaded.first) == 24
    pairs = zip(loaded.first, loaded.took, strict=True)
    assert all(0 < first <= took <= loaded.wall for first, took in pairs)
    if stream and way == "paced":
        assert min(loaded.took) >= (CHUNKS - 1) / 1000  # a ms between chunks


@needs_compiler
def test_http_counts(provider: Upstream, tmp_path: Path) -> None:
    call = http_call("/single/v1/chat/completions", "m", stream=True)
    with pytest.raises(RuntimeError, match="held ' token' 100 times, not 101"):
        Load(tmp_path).run(provider.address, replace(call, count=CHUNKS + 1), 1, 1)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """A server that answers its first caller with these bytes and closes. Gives its address."""
    threads = []

    def serve(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def one() -> None:
            with closing(listener):
                caller, _ = listener.accept()
                with closing(caller):
                    caller.recv(1 << 16)
                    caller.sendall(answer)

        threads.append(threading.Thread(target=one))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for thread in threads:
        thread.join()


@needs_compiler
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "500 Oh"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nThe", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nThe", "0 times, not 12"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nThe\r\n",
            "closed the connection",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n", "neither length nor chunks"),
    ],
)
def test_bad_http(
    answering: Callable[[bytes], str], tmp_path: Path, answer: bytes, complaint: str
) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        Load(tmp_path).run(answering(answer), http_call("/", "m", False), 1, 1)


@needs_compiler
def test_needle_over_chunks(answering: Callable[[bytes], str], tmp_path: Path) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\n\nTh\n\r\n5\r\nThe q\r\n4;x=1\r\nuick\r\n0\r\nA: b\r\n\r\n"
    )
    call = replace(http_call("/", "m", False), count=1)
    assert len(Load(tmp_path).run(answering(answer), call, 1, 1).took) == 1


@pytest.fixture
async def grpc_server() -> AsyncIterator[str]:
    """Streams as many messages as a request has bytes; `!` fails, and 'x' is answered in words."""

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        if request == b"!":
            await context.abort(grpc.StatusCode.INTERNAL, "it broke")
        for _ in request:
            yield b"\x0a\x06 token" + b"." * 40_000

    async def unary(request: bytes, context: Any) -> bytes:
        assert dict(context.invocation_metadata())["x-bench"] == "1"
        return b"The quick, The quick"

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "bench.Test",
                {
                    "Stream": grpc.unary_stream_rpc_method_handler(stream),
                    "Unary": grpc.unary_unary_rpc_method_handler(unary),
                },
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def _run(load: Load, *arguments: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(load.run, *arguments)


async def test_grpc(grpc_server: str, load: Load) -> None:
    call = Call("grpc", "/bench.Test/Stream", b"12345", " token", 5)
    loaded = await _run(load, grpc_server, call, 8, 64, 3)
    assert len(loaded.took) == 64
    call = Call("grpc", "/bench.Test/Unary", b"", "The quick", 2, ("X-Bench: 1",))
    assert len((await _run(load, grpc_server, call, 4, 200)).took) == 200


async def test_grpc_counts(grpc_server: str, load: Load) -> None:
    call = Call("grpc", "/bench.Test/Stream", b"12345", " token", 6)
    with pytest.raises(RuntimeError, match="5 times, not 6"):
        await _run(load, grpc_server, call, 1, 1)


async def test_grpc_errors(grpc_server: str, load: Load) -> None:
    call = Call("grpc", "/bench.Test/Stream", b"!", " token", 1)
    with pytest.raises(RuntimeError, match="it broke"):
        await _run(load, grpc_server, call, 1, 1)


async def test_grpc_goaway(load: Load) -> None:
    """A server that leaves its connections after a while: calls go on on new ones, none is lost."""
    peers = set()

    async def unary(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return b"The quick"

    server = grpc.aio.server(options=[("grpc.max_connection_age_ms", 100)])
    server.add_registered_method_handlers(
        "bench.Test", {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        call = Call("grpc", "/bench.Test/Unary", b"", "The quick", 1)
        loaded = await _run(load, f"127.0.0.1:{port}", call, 8, 3000, 2)
    finally:
        await server.stop(None)
    assert len(loaded.took) == 3000
    assert len(peers) > 2


def test_nobody_there(load: Load) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=r"(?i)refused|unavailable"):
            load.run(address, Call("grpc", "/a/B", b"", "x", 1), 1, 1)
