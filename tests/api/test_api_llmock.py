"""api_service in front of llmock, a fake provider that others wrote."""

from __future__ import annotations

import json

import pytest
from api_upstream import Caller, Serve, ask
from llmock.pytest_plugin import LLMock

from marsys.v1 import ErrorReason, FinishReason, ListModelsRequest

TOOL = {
    "name": "get_weather",
    "parametersJson": '{"type":"object","properties":{"city":{"type":"string"}},'
    '"required":["city"]}',
}


@pytest.fixture
async def service(serve: Serve, llmock: LLMock) -> Caller:
    providers = {
        "openai": {"base_url": llmock.base_url("openai"), "api_key": "k"},
        "xai": {"base_url": llmock.base_url("xai"), "api_key": "k"},
        "mistral": {"base_url": llmock.base_url("mistral"), "api_key": "k"},
    }
    return await serve(providers=providers, retry_base_delay=0.2)


MODELS = ["openai/gpt-4o", "xai/grok-3", "mistral/mistral-large-latest"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
async def test_text(service: Caller, llmock: LLMock, model: str, stream: bool) -> None:
    llmock.reply("The capital of France is Paris.")
    answer = await service.either(ask(model, "What is the capital of France?"), stream)
    assert answer.message.parts[0].text.text == "The capital of France is Paris."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert answer.usage.output_tokens > 0
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
async def test_tool_call(service: Caller, llmock: LLMock, model: str, stream: bool) -> None:
    llmock.call_tool("get_weather", {"city": "Paris"})
    answer = await service.either(ask(model, "Weather in Paris?", tools=[TOOL]), stream)
    calls = [part.tool_call for part in answer.message.parts if part.HasField("tool_call")]
    assert [call.name for call in calls] == ["get_weather"]
    assert json.loads(calls[0].arguments_json) == {"city": "Paris"}
    assert calls[0].id
    assert answer.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS


@pytest.mark.parametrize("stream", [False, True])
async def test_rate_limits_are_waited_out(service: Caller, llmock: LLMock, stream: bool) -> None:
    llmock.rate_limit(times=2, retry_after=0.3)
    answer = await service.either(ask("openai/gpt-4o"), stream)
    assert [attempt.http_status for attempt in answer.attempts] == [429, 429]
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_server_errors_are_repeated(service: Caller, llmock: LLMock, status: int) -> None:
    llmock.fail(status, times=2)
    answer = await service.generate(ask("openai/gpt-4o"))
    assert [attempt.http_status for attempt in answer.attempts] == [status, status]
    llmock.assert_resilient(strict=True)


async def test_outage(service: Caller, llmock: LLMock) -> None:
    llmock.outage()
    error = await service.failure(ask("openai/gpt-4o"))
    assert error.reason == ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
    assert len(error.attempts) == 4
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, ErrorReason.ERROR_REASON_INVALID_REQUEST),
        (401, ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED),
        (403, ErrorReason.ERROR_REASON_PERMISSION_DENIED),
        (404, ErrorReason.ERROR_REASON_INVALID_MODEL),
    ],
)
async def test_client_errors_are_not_repeated(
    service: Caller, llmock: LLMock, status: int, reason: ErrorReason.ValueType
) -> None:
    llmock.fail(status)
    error = await service.failure(ask("openai/gpt-4o"))
    assert error.reason == reason
    assert len(error.attempts) == 1
    llmock.assert_resilient(strict=True)


async def test_context_overflow(service: Caller, llmock: LLMock) -> None:
    llmock.context_overflow()
    error = await service.failure(ask("openai/gpt-4o"))
    assert error.reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (
            "disconnect",
            {
                ErrorReason.ERROR_REASON_NETWORK_ERROR,
                ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            },
        ),
        ("truncate", {ErrorReason.ERROR_REASON_MALFORMED_RESPONSE}),
        ("corrupt", {ErrorReason.ERROR_REASON_MALFORMED_RESPONSE}),
    ],
)
async def test_broken_streams_are_errors(
    service: Caller,
    llmock: LLMock,
    model: str,
    fault: str,
    reasons: set[ErrorReason.ValueType],
) -> None:
    llmock.reply("a long answer that comes in many chunks, one word after the other")
    getattr(llmock, fault)(after_chunks=7)  # in Responses, content begins with the fifth
    error = await service.failure(ask(model), stream=True)
    assert error.reason in reasons
    assert len(error.attempts) == 1
    # llmock can't see that the caller got an error; it sees that the caller asks again.
    assert (await service.either(ask(model), stream=True)).message.parts
    llmock.assert_resilient()


async def test_stalled_stream(service: Caller, llmock: LLMock) -> None:
    llmock.reply("a long answer that comes in many chunks").stall(after_chunks=7, seconds=3)
    request = ask("openai/gpt-4o", policy={"idleTimeout": "0.3s"})
    error = await service.failure(request, stream=True)
    assert error.reason == ErrorReason.ERROR_REASON_TIMEOUT


async def test_models(service: Caller) -> None:
    page = await service.models.ListModels(ListModelsRequest(provider="openai"))
    assert "openai/gpt-4o" in [model.name for model in page.models]
