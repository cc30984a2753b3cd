"""Retries: how often, when, what is told and logged."""

from __future__ import annotations

import asyncio
import logging

import grpc
import pytest
from api_upstream import (
    DONE,
    Caller,
    Serve,
    Upstream,
    ask,
    completion,
    delta,
    hang,
    reply,
    sse,
)

from api_service.providers.table import OPENROUTER
from api_service.retry import Attempts, Backoff
from marsys.v1 import CallPolicy, ErrorReason, ModelError
from serving.errors import ServiceError

UNAVAILABLE = {"error": {"message": "overloaded", "code": 503}}


@pytest.mark.parametrize("stream", [False, True])
async def test_two_failures_then_an_answer(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO, "api_service.retry")
    provider = {"base_url": upstream.url, "api_key": "k"}
    caller = await serve(providers={"openrouter": provider})
    last = sse(delta("Paris."), delta(finish="stop"), DONE) if stream else reply(200, completion())
    upstream.script(reply(503, UNAVAILABLE), reply(503, UNAVAILABLE), last)
    answer = await caller.either(ask("openrouter/anthropic/claude-opus-4.6"), stream)
    assert answer.message.parts[0].text.text == "Paris."
    assert [attempt.http_status for attempt in answer.attempts] == [503, 503]
    assert [attempt.number for attempt in answer.attempts] == [1, 2]
    assert all(attempt.HasField("delay") for attempt in answer.attempts)
    assert answer.attempts[0].reason == "SERVICE_UNAVAILABLE"
    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "api_service.retry"
    ]
    assert lines == [
        ("WARNING", "Server error 503 from claude-opus-4.6. Retry 1/3 after 0.0s"),
        ("WARNING", "Server error 503 from claude-opus-4.6. Retry 2/3 after 0.0s"),
        ("INFO", "Request successful after 2 retries"),
    ]


async def test_attempts_are_streamed_as_they_happen(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(503, UNAVAILABLE), sse(delta("x"), delta(finish="stop"), DONE))
    events = await caller.stream(ask())
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[:2] == ["attempt_failed", "started"]
    assert kinds.count("started") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_four_attempts_at_most(caller: Caller, upstream: Upstream, stream: bool) -> None:
    upstream.script(reply(503, UNAVAILABLE))
    error = await caller.failure(ask(), stream)
    assert len(upstream.seen) == 4
    assert len(error.attempts) == 4
    assert error.max_retries == 3
    assert error.reason == ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
    assert error.http_status == 503
    assert error.retryable
    assert error.retry_after.seconds == 10, "what the reference advises for OpenRouter's 503"
    assert error.suggested_action == "Service temporarily unavailable. Please try again later."
    assert not error.attempts[-1].HasField("delay")


async def test_caller_sets_the_number_of_attempts(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(503, UNAVAILABLE))
    error = await caller.failure(ask(policy={"maxAttempts": 2}))
    assert len(upstream.seen) == 2
    assert error.max_retries == 1
    await caller.failure(ask(policy={"maxAttempts": 1}))
    assert len(upstream.seen) == 3


@pytest.mark.parametrize("model", ["openrouter/x", "openai/gpt-4o", "xai/grok-3"])
@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        (400, 1), (401, 1), (402, 1), (403, 1), (404, 1), (413, 1), (422, 1),
        (408, 4), (429, 4), (500, 4), (502, 4), (503, 4), (504, 4), (529, 4),
    ],
)  # fmt: skip
async def test_which_statuses_are_repeated(
    caller: Caller, upstream: Upstream, model: str, status: int, attempts: int
) -> None:
    upstream.script(reply(status, {"error": {"message": "no"}}))
    error = await caller.failure(ask(model))
    assert len(upstream.seen) == attempts
    assert error.http_status == status


async def test_broken_connection_is_repeated(caller: Caller, upstream: Upstream) -> None:
    async def drop(request: object) -> None:
        request.transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        raise ConnectionResetError

    upstream.script(drop, reply(200, completion()))  # type: ignore[arg-type]
    answer = await caller.generate(ask())
    assert [attempt.reason for attempt in answer.attempts] == ["NETWORK_ERROR"]
    assert not answer.attempts[0].HasField("http_status")


async def test_nothing_listens(serve: Serve) -> None:
    caller = await serve(providers={"dead": {"base_url": "http://127.0.0.1:1/v1"}})
    error = await caller.failure(ask("dead/model"))
    assert error.reason == ErrorReason.ERROR_REASON_NETWORK_ERROR
    assert (error.provider, error.model) == ("dead", "model")
    assert len(error.attempts) == 4


async def test_stream_that_ends_before_content_is_repeated(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(sse(delta(role="assistant")), sse(delta("x"), delta(finish="stop"), DONE))
    answer = await caller.either(ask(), stream=True)
    assert answer.message.parts[0].text.text == "x"
    assert [attempt.reason for attempt in answer.attempts] == ["MALFORMED_RESPONSE"]


async def test_stream_that_breaks_after_content_is_not_repeated(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(sse(delta("half"), then="drop"))
    error = await caller.failure(ask(), stream=True)
    assert error.reason in (
        ErrorReason.ERROR_REASON_NETWORK_ERROR,
        ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
    )
    assert len(upstream.seen) == 1


async def test_retry_after_beyond_the_longest_wait_is_told(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(reply(429, UNAVAILABLE, {"Retry-After": "61"}))
    error = await caller.failure(ask())
    assert len(upstream.seen) == 1
    assert error.retry_after.seconds == 61
    assert error.reason == ErrorReason.ERROR_REASON_RATE_LIMIT


async def test_retry_after_beyond_the_deadline_is_told(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(429, UNAVAILABLE, {"Retry-After": "30"}))
    error = await caller.failure(ask(), timeout=20)
    assert len(upstream.seen) == 1
    assert error.retry_after.seconds == 30


async def test_retry_after_is_waited_for(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(429, UNAVAILABLE, {"Retry-After": "0.3"}), reply(200, completion()))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answer = await caller.generate(ask())
    assert loop.time() - begun >= 0.3
    assert answer.attempts[0].delay.ToMilliseconds() == 300


async def test_cancel_ends_a_back_off(serve: Serve, upstream: Upstream) -> None:
    provider = {"base_url": upstream.url, "api_key": "k"}
    caller = await serve(providers={"openrouter": provider}, retry_base_delay=30.0)
    upstream.script(reply(503, UNAVAILABLE))
    call = caller.inference.Generate(ask())
    await upstream.reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(upstream.seen) == 1


async def test_first_token_timeout_is_repeated(caller: Caller, upstream: Upstream) -> None:
    upstream.script(hang, reply(200, completion()))
    answer = await caller.generate(ask(policy={"firstTokenTimeout": "0.1s"}))
    assert [attempt.reason for attempt in answer.attempts] == ["TIMEOUT"]


def attempts(deadline: float | None = None) -> Attempts:
    return Attempts(OPENROUTER, "a/m", CallPolicy(), deadline, Backoff(1.0, lambda: 1.0))


def unavailable(status: int = 503) -> ModelError:
    reason = ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
    return ModelError(reason=reason, http_status=status, retryable=True, message="down")


def test_waits_double_with_a_tenth_of_jitter(caplog: pytest.LogCaptureFixture) -> None:
    made = attempts()
    waits = [made.failed(unavailable(), False).delay.ToMilliseconds() for _ in range(3)]
    assert waits == [1100, 2200, 4400]
    assert [record.getMessage() for record in caplog.records] == [
        "Server error 503 from m. Retry 1/3 after 1.0s",
        "Server error 503 from m. Retry 2/3 after 2.0s",
        "Server error 503 from m. Retry 3/3 after 4.0s",
    ]
    with pytest.raises(ServiceError) as caught:
        made.failed(unavailable(), False)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


def test_rate_limit_is_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    error = unavailable(429)
    error.retry_after.FromMilliseconds(2500)
    assert attempts().failed(error, False).delay.ToMilliseconds() == 2500
    assert caplog.messages == ["Rate limit 429 from m. Retry 1/3 after 2.5s"]


def test_no_retry_after_content() -> None:
    with pytest.raises(ServiceError):
        attempts().failed(unavailable(), True)
