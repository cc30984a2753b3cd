"""How long a call waits: for a connection, for first content, between chunks, and in all."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress

import grpc
import pytest
from api_raw_upstream import STREAM, RawUpstream, chunked, head, raw, whole
from api_upstream import Caller, Serve, ask, completion, delta

from api_service.timers import Timers, Waits
from marsys.rpc.status import from_rpc_error
from marsys.v1 import CallPolicy, ErrorReason, StreamGenerateRequest

ONCE = {"maxAttempts": 1}
TIMEOUT = ErrorReason.ERROR_REASON_TIMEOUT
PING = chunked(b": ping\n\n", end=False)


def event(*deltas: dict[str, object]) -> bytes:
    return chunked(*(b"data: %s\n\n" % json.dumps(one).encode() for one in deltas), end=False)


END = event(delta(finish="stop")) + chunked(b"data: [DONE]\n\n")


def slowly(*pieces: bytes, gap: float) -> object:
    """Writes pieces with a gap before each."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            await asyncio.sleep(gap)
            writer.write(piece)

    return answer


async def test_connect_timeout_when_tls_is_not_answered(serve: Serve) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    providers = {"acme": {"base_url": f"https://127.0.0.1:{port}"}}
    caller = await serve(providers=providers, connect_timeout=0.2)
    error = await caller.failure(ask("acme/m", policy={"maxAttempts": 2}))
    assert error.reason == TIMEOUT
    assert "reached within 0.2 s" in error.message
    assert len(error.attempts) == 2
    server.close()


async def test_connect_timeout_when_tcp_is_not_answered(serve: Serve) -> None:
    """The queue of connections that wait to be accepted is full, so the system drops new ones."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    address = full.getsockname()
    waiting = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(address)
        waiting.append(one)
    providers = {"acme": {"base_url": f"http://127.0.0.1:{address[1]}"}}
    caller = await serve(providers=providers, connect_timeout=0.2)
    error = await caller.failure(ask("acme/m", policy=ONCE))
    assert error.reason == TIMEOUT
    assert "reached within 0.2 s" in error.message
    for one in (*waiting, full):
        one.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", [raw(hang=True), raw(STREAM, hang=True)])
async def test_first_token_timeouts_are_settings(
    serve: Serve, wire: RawUpstream, answer: object, stream: bool
) -> None:
    wire.script(answer)  # type: ignore[arg-type]
    waits = {"first_token_timeout": 0.2, "answer_timeout": 0.3}
    caller = await serve(providers={"acme": {"base_url": wire.url}}, **waits)
    error = await caller.failure(ask("acme/m", policy=ONCE), stream)
    assert error.reason == TIMEOUT
    assert ("0.2 s" if stream else "0.3 s") in error.message
    await asyncio.wait_for(wire.closed.wait(), 5)


async def test_idle_timeout_is_a_setting(serve: Serve, wire: RawUpstream) -> None:
    wire.script(raw(STREAM, event(delta("half")), hang=True))
    caller = await serve(providers={"acme": {"base_url": wire.url}}, idle_timeout=0.2)
    error = await caller.failure(ask("acme/m"), stream=True)
    assert error.reason == TIMEOUT
    assert "silent for 0.2 s" in error.message
    assert len(wire.requests) == 1, "an attempt that gave content is not repeated"


async def test_pings_keep_a_thinking_model_alive(serve: Serve, wire: RawUpstream) -> None:
    """The service's own timer is for silent providers."""
    wire.script(slowly(STREAM, *[PING] * 8, event(delta("at last")), END, gap=0.25))  # type: ignore[arg-type]
    caller = await serve(providers={"acme": {"base_url": wire.url}}, first_token_timeout=1.5)
    answer = await caller.either(ask("acme/m", policy=ONCE), stream=True)
    assert answer.message.parts[0].text.text == "at last"
    assert not answer.attempts


async def test_pings_do_not_keep_it_alive_for_ever(serve: Serve, wire: RawUpstream) -> None:
    wire.script(slowly(STREAM, *[PING] * 1000, gap=0.02))  # type: ignore[arg-type]
    caller = await serve(providers={"acme": {"base_url": wire.url}}, first_token_timeout=0.1)
    error = await caller.failure(ask("acme/m", policy=ONCE), stream=True)
    assert error.reason == TIMEOUT
    assert "signs of life" in error.message


async def test_a_callers_first_token_timeout_is_kept_to_the_letter(
    wire_caller: Caller, wire: RawUpstream
) -> None:
    wire.script(slowly(STREAM, *[PING] * 1000, gap=0.02))  # type: ignore[arg-type]
    policy = {**ONCE, "firstTokenTimeout": "0.3s"}
    error = await wire_caller.failure(ask("acme/m", policy=policy), stream=True)
    assert error.reason == TIMEOUT
    assert "no content came within 0.3 s" in error.message


async def test_reasoning_is_content(wire_caller: Caller, wire: RawUpstream) -> None:
    thoughts = [event(delta(reasoning_content=f"{n} ")) for n in range(8)]
    wire.script(slowly(STREAM, *thoughts, event(delta("so")), END, gap=0.25))  # type: ignore[arg-type]
    policy = {**ONCE, "firstTokenTimeout": "1.5s", "idleTimeout": "1.5s"}
    answer = await wire_caller.either(ask("acme/m", policy=policy), stream=True)
    assert [part.WhichOneof("content") for part in answer.message.parts] == ["reasoning", "text"]


async def test_slow_bodies_are_alive(wire_caller: Caller, wire: RawUpstream) -> None:
    """Some providers send spaces while a whole answer is being made."""
    body = json.dumps(completion("slow")).encode()
    length = f"Content-Length: {8 + len(body)}"
    pieces = (head("application/json", length), *[b" "] * 8, body)
    wire.script(slowly(*pieces, gap=0.25))  # type: ignore[arg-type]
    policy = {**ONCE, "firstTokenTimeout": "1.5s", "idleTimeout": "1.5s"}
    answer = await wire_caller.generate(ask("acme/m", policy=policy))
    assert answer.message.parts[0].text.text == "slow"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(hang=True), id="no-headers"),
        pytest.param(raw(STREAM, hang=True), id="no-content"),
        pytest.param(slowly(STREAM, *[PING] * 1000, gap=0.02), id="pings"),
        pytest.param(raw(head(), b'{"id"', hang=True), id="half-a-body"),
    ],
)
async def test_the_callers_deadline(
    wire_caller: Caller, wire: RawUpstream, answer: object, stream: bool
) -> None:
    wire.script(answer)  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire_caller.either(ask("acme/m"), stream, timeout=0.4)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert from_rpc_error(caught.value).reason == TIMEOUT
    await asyncio.wait_for(wire.closed.wait(), 5)
    assert len(wire.requests) == 1


async def test_the_deadline_is_kept_mid_stream(wire_caller: Caller, wire: RawUpstream) -> None:
    wire.script(slowly(STREAM, *[event(delta("word "))] * 1000, gap=0.02))  # type: ignore[arg-type]
    call = wire_caller.inference.StreamGenerate(
        StreamGenerateRequest(request=ask("acme/m")), timeout=0.5
    )
    words = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            words += len(response.events)
    assert words
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(wire.closed.wait(), 5)


async def test_back_off_never_goes_past_the_deadline(serve: Serve, wire: RawUpstream) -> None:
    """Who can't be helped in time is told why at once, not left to wait."""
    caller = await serve(providers={"acme": {"base_url": wire.url}}, retry_base_delay=60)
    wire.script(whole(b"{}", status="503 No"))
    error = await caller.failure(ask("acme/m"), timeout=20)
    assert error.reason == ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
    assert len(wire.requests) == 1


def test_waits_of_an_attempt() -> None:
    waits = Waits(first_token=10, answer=20, idle=5)
    stream = Timers(CallPolicy(), None, True, waits)
    whole_answer = Timers(CallPolicy(), None, False, waits)
    assert 9 < stream.left() <= 10
    assert 19 < whole_answer.left() <= 20
    for timers in (stream, whole_answer):
        timers.content()
        assert timers.left() == 5


def test_a_passed_deadline_leaves_no_time() -> None:
    timers = Timers(CallPolicy(), -100.0, True, Waits())
    assert timers.left() == 0
    assert "deadline" in timers.exceeded()


def test_callers_waits_win() -> None:
    policy = CallPolicy()
    policy.first_token_timeout.FromSeconds(700)
    policy.idle_timeout.FromSeconds(800)
    timers = Timers(policy, None, True, Waits())
    assert 699 < timers.left() <= 700
    timers.content()
    assert timers.left() == 800


async def test_a_part_that_has_only_begun_is_no_content(
    wire_caller: Caller, wire: RawUpstream
) -> None:
    """A model that says "now I think" and then thinks is waited for as long as a silent one."""
    begun = event(delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]))
    wire.script(slowly(STREAM + begun, event(delta("so")), END, gap=0.6))  # type: ignore[arg-type]
    policy = {**ONCE, "firstTokenTimeout": "5s", "idleTimeout": "0.3s"}
    error = await wire_caller.failure(ask("acme/m", policy=policy), stream=True)
    assert "silent for 0.3 s" in error.message, "the last wait, after content, is the idle one"
    wire.script(slowly(STREAM + begun, event(delta("so")) + END, gap=0.6))  # type: ignore[arg-type]
    answer = await wire_caller.either(ask("acme/m", policy=policy), stream=True)
    assert answer.message.parts[-1].text.text == "so"
