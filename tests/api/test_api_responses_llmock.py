"""The openai provider over Responses in front of llmock, a fake provider that others wrote."""

from __future__ import annotations

import json

import pytest
from api_upstream import Caller, Serve, ask
from llmock.pytest_plugin import LLMock

from api_service.providers.table import OPENAI, PROVIDERS
from marsys.v1 import ErrorReason, FinishReason

MODELS = ["openai/gpt-4o", "openai/gpt-5-mini"]
TOOL = {
    "name": "get_weather",
    "parametersJson": '{"type":"object","properties":{"city":{"type":"string"}},'
    '"required":["city"]}',
}


@pytest.fixture
async def service(serve: Serve, llmock: LLMock) -> Caller:
    providers = {"openai": {"base_url": llmock.base_url("openai"), "api_key": "k"}}
    rows = {**PROVIDERS, "openai": OPENAI}
    return await serve(rows=rows, providers=providers, retry_base_delay=0.2)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
async def test_text(service: Caller, llmock: LLMock, model: str, stream: bool) -> None:
    llmock.reply("The capital of France is Paris.")
    answer = await service.either(ask(model, "What is the capital of France?"), stream)
    assert answer.message.parts[-1].text.text == "The capital of France is Paris."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert answer.response_id.startswith("resp")
    assert answer.usage.output_tokens > 0
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_loop(service: Caller, llmock: LLMock, stream: bool) -> None:
    llmock.call_tool("get_weather", {"city": "Paris"})
    request = ask("openai/gpt-4o", "Weather in Paris?", tools=[TOOL])
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
    assert answer.message.parts[-1].text.text == "It is sunny."


@pytest.mark.parametrize("stream", [False, True])
async def test_rate_limits_are_waited_out(service: Caller, llmock: LLMock, stream: bool) -> None:
    llmock.rate_limit(times=2, retry_after=0.3)
    answer = await service.either(ask("openai/gpt-4o"), stream)
    assert [attempt.http_status for attempt in answer.attempts] == [429, 429]
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt"])
async def test_broken_streams_are_errors(service: Caller, llmock: LLMock, fault: str) -> None:
    llmock.reply("a long answer that comes in many chunks, one word after the other")
    getattr(llmock, fault)(after_chunks=6)
    error = await service.failure(ask("openai/gpt-4o"), stream=True)
    assert error.reason in (
        ErrorReason.ERROR_REASON_NETWORK_ERROR,
        ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
    )
    assert len(error.attempts) == 1
    assert (await service.either(ask("openai/gpt-4o"), stream=True)).message.parts
    llmock.assert_resilient()


async def test_context_overflow(service: Caller, llmock: LLMock) -> None:
    llmock.context_overflow()
    error = await service.failure(ask("openai/gpt-4o"))
    assert error.reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT
