"""Time, cancellation and bad upstreams."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from aiohttp import web
from api_upstream import DONE, Caller, Upstream, ask, delta, hang, reply, sse

from api_service.providers.sse import MAX_EVENT_BYTES
from api_service.transport import MAX_BODY_BYTES
from marsys.v1 import ErrorReason, StreamGenerateRequest

ONCE = {"maxAttempts": 1}


async def headers_only(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.sleep(600)
    return response


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (hang, False),
        (hang, True),
        (headers_only, False),
        (headers_only, True),
        (sse(delta("half"), then="hang"), True),
    ],
)
async def test_cancel_closes_the_upstream_connection(
    caller: Caller, upstream: Upstream, answer: object, stream: bool
) -> None:
    upstream.script(answer)  # type: ignore[arg-type]
    if stream:
        call = caller.inference.StreamGenerate(StreamGenerateRequest(request=ask()))
    else:
        call = caller.inference.Generate(ask())
    await upstream.reached.wait()
    if stream and answer not in (hang, headers_only):
        await call.read()
    call.cancel()
    await asyncio.wait_for(upstream.closed.wait(), 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_deadline_closes_the_upstream_connection(
    caller: Caller, upstream: Upstream, stream: bool
) -> None:
    upstream.script(sse(delta("half"), then="hang") if stream else hang)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.either(ask(), stream, timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(upstream.closed.wait(), 5)
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_first_token_timeout(caller: Caller, upstream: Upstream, stream: bool) -> None:
    upstream.script(hang)
    policy = {**ONCE, "firstTokenTimeout": "0.1s"}
    error = await caller.failure(ask(policy=policy), stream)
    assert error.reason == ErrorReason.ERROR_REASON_TIMEOUT
    assert "0.1 s" in error.message
    await asyncio.wait_for(upstream.closed.wait(), 5)


async def test_pings_do_not_put_off_the_first_token_timeout(
    caller: Caller, upstream: Upstream
) -> None:
    async def pings(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b": ping\n\n")
            await asyncio.sleep(0.01)

    upstream.script(pings)
    error = await caller.failure(ask(policy={**ONCE, "firstTokenTimeout": "0.2s"}), stream=True)
    assert error.reason == ErrorReason.ERROR_REASON_TIMEOUT


async def test_idle_timeout(caller: Caller, upstream: Upstream) -> None:
    upstream.script(sse(delta("half"), then="hang"))
    error = await caller.failure(ask(policy={"idleTimeout": "0.1s"}), stream=True)
    assert error.reason == ErrorReason.ERROR_REASON_TIMEOUT
    assert "silent for 0.1 s" in error.message
    assert len(upstream.seen) == 1


async def test_pings_keep_a_slow_stream_alive(caller: Caller, upstream: Upstream) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        for _ in range(20):
            await asyncio.sleep(0.05)
            await response.write(b": ping\n\n")
        await response.write(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
        return response

    upstream.script(slow)
    answer = await caller.either(ask(policy={"idleTimeout": "0.5s"}), stream=True)
    assert answer.message.parts[0].text.text == "a"


async def test_redirect_is_not_followed(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(307, {}, {"Location": upstream.url + "/elsewhere"}))
    error = await caller.failure(ask())
    assert error.reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE
    assert "redirect" in error.message
    assert len(upstream.seen) == 1


async def huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(MAX_BODY_BYTES // 2**20 + 8):
        await response.write(b" " * 2**20)
    return response


async def large_event(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: ")
    for _ in range(MAX_EVENT_BYTES // 2**20 + 8):
        await response.write(b"x" * 2**20)
    return response


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (huge, False),
        (large_event, True),
        (reply(200, b"<html>hello</html>", {"Content-Type": "text/html"}), False),
        (reply(200, b"<html>hello</html>", {"Content-Type": "text/html"}), True),
        (reply(200, b'{"choices": ['), False),
        (reply(200, b"\xff\xfe\x00"), False),
        (reply(200, b""), False),
        (reply(200, b""), True),
        (reply(200, b"[" * 100_000), False),
        (sse(b"data: \xff\xfe\n\n"), True),
        (sse(b"data: 5\n\n"), True),
        (sse(DONE), True),
    ],
)
async def test_bad_upstreams_give_typed_errors(
    caller: Caller, upstream: Upstream, answer: object, stream: bool
) -> None:
    upstream.script(answer)  # type: ignore[arg-type]
    error = await caller.failure(ask(policy=ONCE), stream)
    assert error.reason in (
        ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
        ErrorReason.ERROR_REASON_EMPTY_COMPLETION,
    )
    upstream.script(sse(delta("alive"), delta(finish="stop"), DONE))
    assert (await caller.either(ask(), stream=True)).message.parts[0].text.text == "alive"


async def test_endless_headers(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(200, {}, {"X-Long": "x" * 100_000}))
    error = await caller.failure(ask(policy=ONCE))
    assert error.reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE


async def test_large_error_body_is_cut(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(400, b"no " * 10_000_000))
    error = await caller.failure(ask())
    assert error.http_status == 400
    assert len(error.message) < 2000
