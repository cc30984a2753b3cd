"""The anthropic provider in front of llmock, a fake provider that others wrote."""

from __future__ import annotations

import json

import pytest
from api_upstream import Caller, Serve, ask
from llmock.pytest_plugin import LLMock

from marsys.v1 import ErrorReason, FinishReason, ListModelsRequest

MODEL = "anthropic/claude-sonnet-4-5"
TOOL = {
    "name": "get_weather",
    "parametersJson": '{"type":"object","properties":{"city":{"type":"string"}},'
    '"required":["city"]}',
}


@pytest.fixture
async def service(serve: Serve, llmock: LLMock) -> Caller:
    base_url = llmock.base_url("anthropic")
    providers = {"anthropic": {"base_url": base_url, "api_key": "k"}}
    return await serve(providers=providers, retry_base_delay=0.2)


@pytest.mark.parametrize("stream", [False, True])
async def test_text(service: Caller, llmock: LLMock, stream: bool) -> None:
    llmock.reply("The capital of France is Paris.")
    answer = await service.either(ask(MODEL, "What is the capital of France?"), stream)
    assert answer.message.parts[0].text.text == "The capital of France is Paris."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert answer.usage.output_tokens > 0
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_loop(service: Caller, llmock: LLMock, stream: bool) -> None:
    llmock.call_tool("get_weather", {"city": "Paris"})
    request = ask(MODEL, "Weather in Paris?", tools=[TOOL])
    answer = await service.either(request, stream)
    calls = [part.tool_call for part in answer.message.parts if part.HasField("tool_call")]
    assert [call.name for call in calls] == ["get_weather"]
    assert json.loads(calls[0].arguments_json) == {"city": "Paris"}
    assert answer.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    request.messages.append(answer.message)
    result = request.messages.add(role="ROLE_TOOL").parts.add().tool_result
    result.tool_call_id = calls[0].id
    result.content.add().text.text = "Sunny"
    llmock.reply("It is sunny.")
    answer = await service.either(request, stream)
    assert answer.message.parts[0].text.text == "It is sunny."


@pytest.mark.parametrize("stream", [False, True])
async def test_rate_limits_are_waited_out(service: Caller, llmock: LLMock, stream: bool) -> None:
    llmock.rate_limit(times=2, retry_after=0.3)
    answer = await service.either(ask(MODEL), stream)
    assert [attempt.http_status for attempt in answer.attempts] == [429, 429]
    llmock.assert_resilient(strict=True)


async def test_context_overflow(service: Caller, llmock: LLMock) -> None:
    llmock.context_overflow()
    error = await service.failure(ask(MODEL))
    assert error.reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt"])
async def test_broken_streams_are_errors(service: Caller, llmock: LLMock, fault: str) -> None:
    llmock.reply("a long answer that comes in many chunks, one word after the other")
    getattr(llmock, fault)(after_chunks=4)
    error = await service.failure(ask(MODEL), stream=True)
    assert error.reason in (
        ErrorReason.ERROR_REASON_NETWORK_ERROR,
        ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
    )
    assert len(error.attempts) == 1
    assert (await service.either(ask(MODEL), stream=True)).message.parts
    llmock.assert_resilient()


async def test_models(service: Caller) -> None:
    page = await service.models.ListModels(ListModelsRequest(provider="anthropic"))
    assert any(model.name.startswith("anthropic/claude") for model in page.models)
