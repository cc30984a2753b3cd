"""run, arun and stream: what comes back, and how it is waited for."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import warnings

import pytest
from client_scripted import R, events_of, reasoning, text, tool_call

from marsys.agents.exceptions import ModelAPIError, ModelRateLimitError, ModelTimeoutError
from marsys.models import BaseAPIModel, HarmonizedResponse
from marsys.v1 import (
    Attempt,
    ErrorReason,
    ModelError,
    Part,
    RefusalPart,
    Usage,
    Warning,
    WarningCode,
)

HELLO = [{"role": "user", "content": "Hello!"}]
RATE_LIMIT = ModelError(reason=ErrorReason.ERROR_REASON_RATE_LIMIT, message="slow down")


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_run_blocks_and_returns_the_response(service, api_model):
    service.say(text("Hi there"), usage=Usage(input_tokens=3, output_tokens=2, total_tokens=5))
    response = api_model.run(HELLO)
    assert isinstance(response, HarmonizedResponse)
    assert response["content"] == "Hi there"
    assert response["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


async def test_arun(service, api_model):
    service.say(text("Hi"))
    assert (await api_model.arun(HELLO)).content == "Hi"


async def test_run_in_a_loop_starts_at_once_and_can_be_awaited(service, api_model):
    service.say(text("Hi"))
    pending = api_model.run(HELLO)
    wait_for(lambda: service.requests)  # it has gone out although nothing was awaited
    response = await pending
    assert type(response) is HarmonizedResponse
    assert response["content"] == "Hi"
    assert (await pending) is response
    assert len(service.requests) == 1


async def test_run_in_a_loop_can_be_read_without_await(service, api_model):
    service.say(text("Hi"))
    pending = api_model.run(HELLO)
    assert pending["content"] == "Hi"
    assert pending.get("nothing", 7) == 7
    assert pending.content == "Hi"
    assert set(pending) >= {"role", "content", "usage"}
    assert len(service.requests) == 1


async def test_awaiting_does_not_block_the_loop(service, api_model):
    service.hang()
    task = asyncio.ensure_future(api_model.run(HELLO))
    await asyncio.sleep(0.01)  # the task runs now: if it blocked, nothing would come after this
    while not service.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_for, lambda: service.cancelled == 1)


async def test_several_pending_responses_are_gathered(service, api_model):
    service.say(text("Hi"))
    answers = await asyncio.gather(*[api_model.run(HELLO) for _ in range(5)])
    assert [answer["content"] for answer in answers] == ["Hi"] * 5


@pytest.mark.parametrize("how", ["await", "read"])
async def test_errors_of_a_pending_response_come_when_it_is_used(service, api_model, how):
    service.fail(RATE_LIMIT)
    pending = api_model.run(HELLO)
    with pytest.raises(ModelRateLimitError):
        _ = (await pending) if how == "await" else pending["content"]


async def test_a_pending_response_that_nobody_uses_is_told_of(service, api_model):
    service.hang()
    with pytest.warns(RuntimeWarning, match="never awaited or read"):
        api_model.run(HELLO)  # dropped at once


async def test_cancelling_arun_cancels_the_call(service, api_model):
    service.hang()
    task = asyncio.create_task(api_model.arun(HELLO))
    while not service.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_for, lambda: service.cancelled == 1)


def test_chunks(service, api_model):
    service.say(
        reasoning("Hm."),
        text("Let me look."),
        tool_call("look", '{"at": "it"}'),
        finish=R.FINISH_REASON_TOOL_CALLS,
        usage=Usage(input_tokens=4),
    )
    stream = api_model.stream(HELLO)
    chunks = list(stream)
    kinds = [chunk["type"] for chunk in chunks]
    assert kinds == ["thinking", "text", "text", "text", "tool_call", "done"]
    assert "".join(chunk["content"] for chunk in chunks) == "Let me look."
    assert [chunk.index for chunk in chunks[:5]] == [0, 1, 1, 1, 2]
    assert chunks[0].thinking == "Hm."
    (call,) = chunks[4].tool_calls
    assert call.function.name == "look"
    assert call.function.arguments == '{"at": "it"}'
    last = chunks[-1]
    assert last.finish_reason == "tool_calls"
    assert last.usage == {"prompt_tokens": 4}
    assert stream.response is last.response
    service.say(reasoning("Hm."), text("Let me look."), tool_call("look", '{"at": "it"}'))
    unary = api_model.run(HELLO)
    for key in ("content", "thinking", "tool_calls", "reasoning_details"):
        assert last.response[key] == unary[key]


def test_a_call_that_was_cut_off_is_never_shown(service, api_model):
    cut_off = tool_call("look", '{"at": "i')
    cut_off.tool_call.incomplete = True
    service.say(text("Let me look."), cut_off, finish=R.FINISH_REASON_LENGTH)
    *chunks, last = api_model.stream(HELLO)
    assert {chunk["type"] for chunk in chunks} == {"text"}
    unary = api_model.run(HELLO)
    for response in (last.response, unary):
        assert response.content == "Let me look."
        assert response.tool_calls == []
        assert response.finish_reason == "length"
        assert response.reasoning_details == []


def test_parts_that_come_whole_are_not_lost(service, api_model):
    service.say(reasoning("Hm."), text("All at once"), whole=True)
    chunks = list(api_model.stream(HELLO))
    assert "".join(chunk["content"] for chunk in chunks) == "All at once"
    assert "".join(chunk["thinking"] for chunk in chunks) == "Hm."


async def test_async_stream(service, api_model):
    service.say(text("one two three"))
    words = [chunk["content"] async for chunk in api_model.stream(HELLO)]
    assert words == ["one ", "two ", "three", ""]


def test_the_first_chunk_comes_before_the_last(service, api_model):
    service.hang(after=events_of(text("one two"))[:3])
    with api_model.stream(HELLO) as stream:
        assert next(stream)["content"] == "one "
    wait_for(lambda: service.cancelled == 1)
    assert list(stream) == []


async def test_leaving_an_async_stream_cancels_the_call(service, api_model):
    service.hang(after=events_of(text("one two"))[:3])
    async with api_model.stream(HELLO) as stream:
        async for chunk in stream:
            assert chunk["content"] == "one "
            break
    await asyncio.to_thread(wait_for, lambda: service.cancelled == 1)


async def test_dropping_an_async_stream_cancels_the_call(service, api_model):
    service.hang(after=events_of(text("one two"))[:3])
    async for _ in api_model.stream(HELLO):
        break
    gc.collect()
    await asyncio.to_thread(wait_for, lambda: service.cancelled == 1)


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_a_stream_without_its_end_is_an_error(service, api_model, cut):
    service.replies = []
    service.say(text("one two"))
    service.replies[0].events = service.replies[0].events[:cut]
    with pytest.raises(ModelAPIError, match="truncated") as caught:
        list(api_model.stream(HELLO))
    assert caught.value.is_retryable
    assert caught.value.context["partial_length"] == {0: 0, 1: 0, 3: 4, 5: 7}[cut]


async def test_an_async_stream_without_its_end_is_an_error(service, api_model):
    service.say(text("one two"))
    service.replies[0].events = service.replies[0].events[:3]
    with pytest.raises(ModelAPIError, match="truncated"):
        async for _ in api_model.stream(HELLO):
            pass


def test_a_gap_in_a_stream_is_an_error(service, api_model):
    service.say(text("one two"))
    del service.replies[0].events[2]
    stream = api_model.stream(HELLO)
    with pytest.raises(ModelAPIError, match="truncated"):
        list(stream)
    assert list(stream) == []


def test_a_stream_that_fails_midway(service, api_model):
    service.fail(RATE_LIMIT, after=events_of(text("one two"))[:3])
    stream = api_model.stream(HELLO)
    assert next(stream)["content"] == "one "
    with pytest.raises(ModelRateLimitError) as caught:
        next(stream)
    assert caught.value.context["partial_length"] == 4
    assert list(stream) == []


def test_a_stream_has_one_reader(service, api_model):
    service.hang(after=events_of(text("one two"))[:3])
    with api_model.stream(HELLO) as stream:
        next(stream)
        with pytest.raises(RuntimeError, match="already read"):
            asyncio.run(anext(stream))


@pytest.mark.parametrize("how", ["run", "stream"])
def test_a_deadline(service, api_model, how):
    service.hang()
    with pytest.raises(ModelTimeoutError, match=r"within 0\.3 s") as caught:
        _ = (
            getattr(api_model, how)(HELLO, timeout=0.3)["content"]
            if how == "run"
            else list(api_model.stream(HELLO, timeout=0.3))
        )
    assert caught.value.classification == "timeout"
    assert caught.value.grpc_code == "DEADLINE_EXCEEDED"


async def test_the_models_own_deadline(service):
    service.hang()
    model = BaseAPIModel("openrouter", "m", target=service.address, timeout=0.3)
    with pytest.raises(ModelTimeoutError):
        await model.arun(HELLO)
    with pytest.raises(ModelTimeoutError):
        await model.run(HELLO)


@pytest.mark.parametrize("how", ["run", "stream"])
def test_attempts_and_warnings_are_logged(service, api_model, caplog, how):
    caplog.set_level(logging.INFO, "marsys.models")
    attempts = []
    for number, seconds in ((1, 1), (2, 2)):
        attempt = Attempt(
            number=number, model="anthropic/claude-opus-4.6", http_status=503, provider="openrouter"
        )
        attempt.delay.FromSeconds(seconds)
        attempts.append(attempt)
    warning = Warning(
        code=WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER,
        field="config.top_k",
        message="is left out",
    )
    service.say(text("Hi"), attempts=tuple(attempts), warnings=(warning,))
    run = how == "run"
    response = api_model.run(HELLO) if run else list(api_model.stream(HELLO))[-1].response
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert sorted(lines) == sorted(
        [
            ("WARNING", "Server error 503 from claude-opus-4.6. Retry 1/3 after 1.0s"),
            ("WARNING", "Server error 503 from claude-opus-4.6. Retry 2/3 after 2.0s"),
            ("INFO", "Request successful after 2 retries"),
            ("WARNING", "config.top_k: is left out"),
        ]
    )
    assert [attempt["http_status"] for attempt in response.metadata.attempts] == [503, 503]
    assert response.metadata.warnings == [
        {"code": "unsupported_parameter", "field": "config.top_k", "message": "is left out"}
    ]


def test_a_refusal(service, api_model):
    service.say(Part(refusal=RefusalPart(text="No.")), finish=R.FINISH_REASON_CONTENT_FILTER)
    response = api_model.run(HELLO)
    assert response["content"] == response["refusal"] == "No."
    assert response["finish_reason"] == "content_filter"


def test_many_threads_share_a_model(service, api_model):
    service.say(text("Hi"))
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(api_model.run(HELLO)["content"]))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Hi"] * 20


def test_several_loops_in_turn_and_at_once(service, api_model):
    service.say(text("Hi"))
    answers = []

    def in_a_loop():
        for _ in range(2):
            answers.append(asyncio.run(api_model.arun(HELLO))["content"])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=in_a_loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
    assert answers == ["Hi"] * 8


def test_cleanup_and_context_managers(service, api_model):
    service.say(text("Hi"))

    async def use() -> None:
        await api_model.cleanup()
        async with api_model as model:
            await model.arun(HELLO)

    api_model.cleanup()
    asyncio.run(use())
    with api_model as model:
        assert model.run(HELLO)["content"] == "Hi"


def test_max_retries_of_the_log_is_the_requests(service, caplog):
    attempt = Attempt(number=1, reason="NETWORK_ERROR", model="m")
    attempt.delay.FromMilliseconds(500)
    service.say(text("Hi"), attempts=(attempt,))
    BaseAPIModel("openai", "m", target=service.address, max_retries=1).run(HELLO)
    assert "Network error from m. Retry 1/1 after 0.5s" in caplog.text
    assert service.requests[0].policy.max_attempts == 2
