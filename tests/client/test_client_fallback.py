"""Models that stand in for one another."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from concurrent import futures
from typing import Any

import grpc
import pytest
from client_asking import HELLO, STREAMS, WAYS, asked, failure
from client_scripted import ScriptedService, events_of, text

from marsys.agents.exceptions import (
    ModelAPIError,
    ModelConfigurationError,
    ModelError,
    ModelRateLimitError,
    ModelTokenLimitError,
)
from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.models.fallback import FallbackModel
from marsys.v1 import StreamEvent, Usage
from marsys.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)


@pytest.fixture
def first(service: ScriptedService) -> BaseAPIModel:
    return BaseAPIModel("openrouter", "vendor/first", target=service.address)


@pytest.fixture
def second(other_service: ScriptedService) -> BaseLocalModel:
    return BaseLocalModel("second", target=other_service.address)


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
def third(service: ScriptedService) -> BaseAPIModel:
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
def test_a_local_model_that_can_not_be_loaded(service, other_service, how):
    service.fail(failure("MODEL_NOT_LOADED"))
    service.load_reply = failure("MODEL_LOAD_FAILED", "no such file")
    other_service.say(text("Hi"))
    local = BaseLocalModel("big", target=service.address)
    remote = BaseAPIModel("openai", "m", target=other_service.address)
    content, response = asked(local.with_fallback(remote), how)
    assert content == "Hi"
    assert response.metadata.failed_models[0]["message"] == "no such file"
    assert len(service.loads) == 1


class Cancelling(InferenceServiceServicer):
    """Cancels calls by itself, as something between here and a service may."""

    def Generate(self, request: Any, context: Any) -> None:
        context.abort(grpc.StatusCode.CANCELLED, "somebody hung up")


def test_a_call_that_somebody_cancelled_is_not_asked_again(other_service, second):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_InferenceServiceServicer_to_server(Cancelling(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    model = BaseAPIModel("openai", "m", target=f"127.0.0.1:{port}").with_fallback(second)
    with pytest.raises(ModelAPIError, match="somebody hung up") as caught:
        model.run(HELLO)
    assert caught.value.grpc_code == "CANCELLED"
    assert other_service.requests == []
    server.stop(0).wait()


def test_secrets_are_not_told(service, other_service, caplog):
    service.fail(failure("AUTHENTICATION_FAILED"))
    other_service.fail(failure("AUTHENTICATION_FAILED"))
    models = [
        BaseAPIModel("openai", "m", "canary", target=each.address, token="canary")
        for each in (service, other_service)
    ]
    model = models[0].with_fallback(models[1])
    with pytest.raises(ModelAPIError) as caught:
        model.run(HELLO)
    assert service.requests[0].target.api_key == "canary"
    told = f"{caplog.text} {model!r} {caught.value.to_dict()} {caught.value.__notes__}"
    assert "canary" not in told


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
