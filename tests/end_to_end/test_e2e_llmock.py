"""Client -> api_service -> llmock, a fake provider that we did not write, and its verdict."""

from __future__ import annotations

import json

import pytest

from marsys.agents.exceptions import ModelAPIError, ModelRateLimitError, ModelTokenLimitError
from marsys.models import BaseAPIModel

HELLO = [{"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get weather for a location",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}


PROVIDERS = {
    "openai": ("gpt-4o-mini", "openai"),
    "anthropic": ("claude-sonnet-4.5", "anthropic"),
    "google": ("gemini-2.0-flash", "gemini"),
}
FIRST_WORDS = {"openai": 6, "anthropic": 4, "google": 2}  # chunks until there are some


@pytest.fixture(params=PROVIDERS)
def model(api_service, llmock, request):
    name, path = PROVIDERS[request.param]
    with BaseAPIModel(
        provider=request.param,
        model_name=name,
        api_key="sk-llmock-test-key",
        base_url=llmock.base_url(path),
        target=api_service.address,
    ) as model:
        yield model


def test_text(model, llmock):
    llmock.reply("Good morning.")
    response = model.run(HELLO)
    assert response["content"] == "Good morning."
    assert response["usage"]["prompt_tokens"] > 0
    assert response["finish_reason"] == "stop"


def test_streamed_text(model, llmock):
    llmock.reply("One two three four five six.")
    assert "".join(c["content"] for c in model.stream(HELLO)) == "One two three four five six."


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_loop(model, llmock, streamed):
    def answer(messages):
        if streamed:
            return list(model.stream(messages, tools=[WEATHER]))[-1]["response"]
        return model.run(messages, tools=[WEATHER], tool_choice="auto")

    llmock.call_tool("get_weather", {"location": "Paris"})
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    response = answer(messages)
    (call,) = response["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"location": "Paris"}
    assert response["finish_reason"] == "tool_calls"
    messages += [response, {"role": "tool", "tool_call_id": call["id"], "content": '{"t": 21}'}]
    assert answer(messages)["content"]


def test_structured_output(model):
    if model.provider == "anthropic":
        pytest.skip("llmock knows no output_config")
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}, "confidence": {"type": "number"}},
        "required": ["answer", "confidence"],
    }
    data = json.loads(model.run(HELLO, response_schema=schema)["content"])
    assert set(data) == {"answer", "confidence"}


def test_a_rate_limit_is_waited_for(model, llmock):
    llmock.rate_limit(times=1, retry_after=1)
    response = model.run(HELLO)
    assert response["content"]
    (attempt,) = response["metadata"]["attempts"]
    assert attempt["http_status"] == 429
    llmock.assert_resilient()


def test_an_outage_is_given_up_with_a_typed_error(model, llmock):
    llmock.outage()
    with pytest.raises(ModelAPIError) as caught:
        model.run(HELLO)
    error = caught.value
    assert error.status_code == 503
    assert error.classification == "service_unavailable"
    assert error.error_code == "MODEL_API_SERVICE_UNAVAILABLE_ERROR"
    assert error.is_retryable is True
    assert len(error.context["attempts"]) == 4
    llmock.assert_resilient()


@pytest.mark.parametrize(
    ("status", "classification"),
    [(400, "invalid_request"), (401, "authentication_failed"), (404, "invalid_model")],
)
def test_errors_that_are_not_retried(model, llmock, status, classification):
    llmock.fail(status)
    with pytest.raises(ModelAPIError) as caught:
        model.run(HELLO)
    assert caught.value.classification == classification
    assert caught.value.status_code == status
    llmock.assert_resilient()


def test_a_long_wait_is_left_to_the_caller(model, llmock):
    llmock.rate_limit(times=None, retry_after=90)
    with pytest.raises(ModelRateLimitError) as caught:
        model.run(HELLO)
    assert caught.value.retry_after == 90
    assert caught.value.context["max_retries"] == 3


def test_a_prompt_that_is_too_long(model, llmock):
    llmock.context_overflow()
    with pytest.raises(ModelTokenLimitError):
        model.run(HELLO)


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt"])
def test_a_broken_stream_is_never_taken_for_whole(model, llmock, fault):
    getattr(llmock, fault)(after_chunks=FIRST_WORDS[model.provider])
    messages = [{"role": "user", "content": "Say a few more words, please."}]
    text = ""
    with pytest.raises(ModelAPIError):
        for chunk in model.stream(messages):
            text += chunk["content"]
    assert text
    # llmock sees no exception: that the caller asks again tells it that the stream was refused.
    assert "".join(chunk["content"] for chunk in model.stream(messages))
    llmock.assert_resilient()
