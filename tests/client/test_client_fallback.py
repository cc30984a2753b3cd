"""Models that stand in for one another."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from client_scripted import ScriptedService, events_of, text

from marsys.agents.exceptions import (
    ModelAPIError,
    ModelConfigurationError,
    ModelError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelTokenLimitError,
)
from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.models.fallback import FallbackModel
from marsys.v1 import ErrorReason, StreamEvent, Usage
from marsys.v1 import ModelError as ProtoError

HELLO = [{"role": "user", "content": "Hello!"}]


def failure(reason: str, message: str = "no") -> ProtoError:
    return ProtoError(reason=ErrorReason.Value(f"ERROR_REASON_{reason}"), message=message)


@pytest.fixture
def first(service: ScriptedService) -> BaseAPIModel:
    return BaseAPIModel("openrouter", "vendor/first", target=service.address)


@pytest.fixture
def second(other_service: ScriptedService) -> BaseLocalModel:
    return BaseLocalModel("second", target=other_service.address)


def asked(model: Any, how: str, **kwargs: Any) -> tuple[str, Any]:
    """The text and the response, asked for in one of the ways there are."""
    if how == "run":
        response = model.run(HELLO, **kwargs)
        return response["content"], response
    if how == "arun":
        response = asyncio.run(model.arun(HELLO, **kwargs))
        return response["content"], response
    if how in ("pending", "read"):

        async def pending() -> Any:
            call = model.run(HELLO, **kwargs)
            return await call if how == "pending" else call.result()

        response = asyncio.run(pending())
        return response["content"], response
    stream = model.stream(HELLO, **kwargs)
    if how == "stream":
        return "".join(chunk["content"] for chunk in stream), stream.response

    async def read() -> str:
        return "".join([chunk["content"] async for chunk in stream])

    return asyncio.run(read()), stream.response


def asked_of(service: ScriptedService, calls: int = 1) -> None:
    end = time.monotonic() + 20
    while len(service.requests) < calls:
        assert time.monotonic() < end
        time.sleep(0.01)


WAYS = pytest.mark.parametrize("how", ["run", "arun", "pending", "read", "stream", "astream"])
STREAMS = pytest.mark.parametrize("how", ["stream", "astream"])


@WAYS
def test_the_next_model_answers_where_one_fails(service, other_service, first, second, caplog, how):
    service.fail(failure("RATE_LIMIT", "slow down"))
    other_service.say(text("Hi there"))
    content, response = asked(first.with_fallback(second), how)
    assert content == response["content"] == "Hi there"
    assert response["metadata"]["failed_models"] == [
        {
            "model": "vendor/first",
            "provider": "",
            "error_code": "MODEL_API_RATE_LIMIT_ERROR",
            "classification": "rate_limit",
            "status_code": None,
            "message": "slow down",
        }
    ]
    json.dumps(response)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert lines == ["vendor/first failed, falling back to second: slow down"]
    assert (len(service.requests), len(other_service.requests)) == (1, 1)
    assert other_service.requests[0].model == "second"


@WAYS
def test_the_others_are_not_asked_where_the_first_answers(
    service, other_service, first, second, how
):
    service.say(text("Hi"))
    content, response = asked(first.with_fallback(second), how)
    assert content == "Hi"
    assert response["metadata"]["failed_models"] == []
    assert other_service.requests == []


@WAYS
def test_where_all_fail_the_last_error_tells_of_the_others(
    service, other_service, first, second, how
):
    service.fail(failure("RATE_LIMIT", "slow down"))
    other_service.fail(failure("OVERLOADED", "the queue is full"))
    with pytest.raises(ModelAPIError, match="the queue is full") as caught:
        asked(first.with_fallback(second), how)
    (earlier,) = caught.value.context["failed_models"]
    assert (earlier["model"], earlier["classification"]) == ("vendor/first", "rate_limit")
    assert isinstance(caught.value.__context__, ModelRateLimitError)
    assert caught.value.__notes__ == ["Before it, vendor/first failed: slow down"]
    json.dumps(caught.value.to_dict())


@pytest.mark.parametrize(
    "reason",
    ["INVALID_REQUEST", "TOKEN_LIMIT", "INVALID_MODEL", "UNSUPPORTED_PARAMETER", "REFUSAL",
     "AUTHENTICATION_FAILED", "INSUFFICIENT_CREDITS", "EMPTY_COMPLETION", "TIMEOUT", "INTERNAL"],
)  # fmt: skip
def test_what_may_depend_on_the_model_falls_back(service, other_service, first, second, reason):
    service.fail(failure(reason))
    other_service.say(text("Hi"))
    assert first.with_fallback(second).run(HELLO)["content"] == "Hi"


def test_a_service_that_is_not_there_falls_back(other_service, second):
    other_service.say(text("Hi"))
    with socket.socket() as taken:  # bound, and listens not: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        gone = BaseAPIModel("openai", "m", target=f"127.0.0.1:{taken.getsockname()[1]}")
        response = gone.with_fallback(second).run(HELLO)
    assert response["content"] == "Hi"
    assert response.metadata.failed_models[0]["classification"] == "network_error"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 7}, "stop"),
        ({"n": 2}, "n"),
        ({"service_tier": "flex"}, "service_tier"),  # the first model takes it, the second can't
    ],
)
@pytest.mark.parametrize("how", ["run", "arun", "stream"])
def test_a_wrong_argument_is_sent_to_nobody(
    service, other_service, first, second, arguments, field, how
):
    with pytest.raises(ModelAPIError) as caught:
        asked(first.with_fallback(second), how, **arguments)
    assert caught.value.field == field
    assert service.requests == other_service.requests == []


def test_a_wrong_timeout_is_told_at_once(first, second):
    with pytest.raises(ModelConfigurationError) as caught:
        first.with_fallback(second).stream(HELLO, timeout=-1)
    assert caught.value.field == "timeout"


@STREAMS
def test_a_stream_falls_back_before_its_first_content(service, other_service, first, second, how):
    begun = events_of(text("never"), usage=None)[:2]  # the header, and the part's start
    assert [event.WhichOneof("event") for event in begun] == ["started", "part_started"]
    counted = StreamEvent(sequence=2)
    counted.usage_updated.usage.CopyFrom(Usage(input_tokens=999))
    service.fail(failure("SERVICE_UNAVAILABLE"), after=[*begun, counted])
    other_service.say(text("Hi there"), usage=Usage(input_tokens=3))
    stream = first.with_fallback(second).stream(HELLO)
    chunks = list(stream) if how == "stream" else asyncio.run(_gathered(stream))
    assert [chunk["content"] for chunk in chunks] == ["Hi ", "there", ""]
    assert stream.response["usage"] == {"prompt_tokens": 3}
    assert stream.response is chunks[-1]["response"]


@STREAMS
def test_a_stream_that_is_cut_before_its_first_content_falls_back(
    service, other_service, first, second, how
):
    service.say(text("never"))
    del service.replies[0].events[1:]
    other_service.say(text("Hi"))
    assert asked(first.with_fallback(second), how)[0] == "Hi"


@STREAMS
def test_a_stream_that_fails_later_is_not_begun_again(service, other_service, first, second, how):
    service.fail(failure("RATE_LIMIT"), after=events_of(text("one two"))[:3])
    other_service.say(text("Hi"))
    stream = first.with_fallback(second).stream(HELLO)
    seen: list[str] = []
    with pytest.raises(ModelRateLimitError) as caught:
        if how == "stream":
            seen += (chunk["content"] for chunk in stream)
        else:
            asyncio.run(_gathered(stream, seen))
    assert seen == ["one "]
    assert caught.value.context["partial_length"] == 4
    assert other_service.requests == []


async def _gathered(stream: Any, contents: list[str] | None = None) -> list[Any]:
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        if contents is not None:
            contents.append(chunk["content"])
    return chunks


@pytest.fixture
def third(service: ScriptedService) -> Iterator[BaseAPIModel]:
    return BaseAPIModel("openai", "third", target=service.address)


def test_several_in_order(service, other_service, first, second, third):
    service.fail(failure("RATE_LIMIT"))
    service.say(text("Third"))
    other_service.fail(failure("OVERLOADED"))
    response = first.with_fallback(second, third).run(HELLO)
    assert response["content"] == "Third"
    failed = [failed["model"] for failed in response.metadata.failed_models]
    assert failed == ["vendor/first", "second"]


def test_chains_are_flat(first, second, third):
    chained = first.with_fallback(second).with_fallback(third)
    nested = first.with_fallback(second.with_fallback(third))
    assert chained.models == nested.models == (first, second, third)
    assert chained.model_name == "vendor/first"
    assert "'vendor/first'" in repr(chained)
    assert isinstance(chained, FallbackModel)


@pytest.mark.parametrize("others", [(), ("gpt-5",), (None,)])
def test_what_can_not_stand_in(first, others):
    with pytest.raises(ModelConfigurationError) as caught:
        first.with_fallback(*others)
    assert caught.value.field == "others"


@WAYS
def test_the_timeout_of_a_call_is_that_of_all_models(service, other_service, first, second, how):
    service.hang()
    other_service.say(text("Hi"))
    with pytest.raises(ModelTimeoutError, match=r"within 0\.3 s"):
        asked(first.with_fallback(second), how, timeout=0.3)
    assert other_service.requests == []


@WAYS
def test_a_models_own_timeout_leaves_time_for_the_next(service, other_service, second, how):
    service.hang()
    other_service.say(text("Hi"))
    hurried = BaseAPIModel("openai", "m", target=service.address, timeout=0.3)
    content, response = asked(hurried.with_fallback(second), how, timeout=60)
    assert content == "Hi"
    assert response.metadata.failed_models[0]["classification"] == "timeout"


@WAYS
def test_both_hang(service, other_service, how):
    service.hang()
    other_service.hang()
    models = [
        BaseAPIModel("openai", name, target=scripted.address, timeout=seconds)
        for name, scripted, seconds in (("a", service, 0.2), ("b", other_service, 60))
    ]
    with pytest.raises(ModelTimeoutError, match=r"within 0\.8 s") as caught:
        asked(models[0].with_fallback(models[1]), how, timeout=0.8)
    assert caught.value.context["failed_models"][0]["message"] == "no whole answer within 0.2 s"


@pytest.mark.parametrize("how", ["arun", "pending", "astream"])
async def test_a_cancelled_call_does_not_fall_back(service, other_service, first, second, how):
    service.hang()
    other_service.say(text("Hi"))
    model = first.with_fallback(second)
    call: Any = {
        "arun": lambda: model.arun(HELLO),
        "pending": lambda: model.run(HELLO),
        "astream": lambda: anext(model.stream(HELLO)),
    }[how]()
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)  # it runs now
    while not service.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while service.cancelled < 1:
        await asyncio.sleep(0.01)
    assert other_service.requests == []


async def test_a_pending_response_is_done_when_a_model_has_answered(
    service, other_service, first, second
):
    service.fail(failure("RATE_LIMIT"))
    other_service.hang()
    pending = first.with_fallback(second).run(HELLO)
    task = asyncio.ensure_future(asyncio.wait_for(pending, 60))
    await asyncio.sleep(0)
    while not other_service.requests:
        await asyncio.sleep(0.01)
    assert not pending.done()
    assert pending.cancel()  # reaches the second model's call
    while other_service.cancelled < 1:
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pending.done()


def test_a_closed_stream_asks_nobody_else(service, other_service, first, second):
    service.hang(after=events_of(text("one two"))[:3])
    with first.with_fallback(second).stream(HELLO) as stream:
        assert next(stream)["content"] == "one "
    assert list(stream) == []
    end = time.monotonic() + 20
    while service.cancelled < 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert other_service.requests == []


def test_a_stream_that_is_closed_while_it_is_waited_for_asks_nobody_else(
    service, other_service, first, second
):
    service.hang()
    stream = first.with_fallback(second).stream(HELLO)
    closer = threading.Thread(target=lambda: (asked_of(service), stream.close()))
    closer.start()
    assert list(stream) == []
    closer.join()
    assert other_service.requests == []


def test_errors_that_are_no_model_errors_are_not_swallowed(service, other_service, first, second):
    service.say(text("Hi"))
    with pytest.raises(TypeError):
        first.with_fallback(second).run(HELLO, n=object() > 1)
    assert other_service.requests == []


def test_token_limits_reach_a_model_with_a_longer_context(service, other_service, first, second):
    error = failure("TOKEN_LIMIT")
    error.token_limit = 8
    service.fail(error)
    other_service.fail(failure("RATE_LIMIT"))
    with pytest.raises(ModelRateLimitError) as caught:
        first.with_fallback(second).run(HELLO)
    assert isinstance(caught.value.__context__, ModelTokenLimitError)
    assert caught.value.__context__.limit == 8


def test_cleanup_and_context_managers(service, first, second):
    service.say(text("Hi"))
    model = first.with_fallback(second)

    async def use() -> None:
        await model.cleanup()
        async with model as same:
            await same.arun(HELLO)

    asyncio.run(use())
    with model as same:
        assert same.run(HELLO)["content"] == "Hi"


def test_a_conversation_is_one_models(first, second):
    with pytest.raises(ModelConfigurationError, match=r"chat\.messages"):
        first.with_fallback(second).converse()


def test_it_is_caught_as_the_reference_page_does(service, other_service, first, second):
    """The page's own way to fall back works as well, by the same errors."""
    service.fail(failure("SERVICE_UNAVAILABLE"))
    other_service.say(text("Hi"))

    async def robust() -> Any:
        try:
            return await first.run(HELLO)
        except ModelError:
            return await second.run(HELLO)

    assert asyncio.run(robust())["content"] == "Hi"
