"""Parameters that the service chose and a model refuses are left out, and remembered."""

from __future__ import annotations

from typing import Any

import pytest
from api_upstream import DONE, Caller, Upstream, ask, completion, delta, reply, sse

from api_service.providers.refused_field import refused_field
from api_service.providers.table import ANTHROPIC, CUSTOM, GOOGLE, OPENAI_CHAT, XAI, ProviderRow
from marsys.v1 import ErrorReason, WarningCode


def refusal(message: str, **error: Any) -> Any:
    return reply(400, {"error": {"message": message, "type": "invalid_request_error", **error}})


NO_TEMPERATURE = refusal(
    "Unsupported parameter: 'temperature' is not supported with this model.",
    param="temperature",
    code="unsupported_parameter",
)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_default_that_is_refused_is_left_out(
    caller: Caller, upstream: Upstream, stream: bool
) -> None:
    last = sse(delta("Paris."), delta(finish="stop"), DONE) if stream else reply(200, completion())
    upstream.script(NO_TEMPERATURE, last)
    request = ask("openrouter/new/model", policy={"maxAttempts": 1})
    answer = await caller.either(request, stream)
    assert answer.message.parts[0].text.text == "Paris."
    assert ["temperature" in seen.body for seen in upstream.seen] == [True, False]
    assert [attempt.http_status for attempt in answer.attempts] == [400]
    assert answer.attempts[0].delay.ToNanoseconds() == 0
    again = await caller.either(request, stream)
    assert not again.attempts, "what was learned is remembered"
    assert "temperature" not in upstream.seen[2].body


async def test_another_model_is_not_concerned(caller: Caller, upstream: Upstream) -> None:
    upstream.script(NO_TEMPERATURE, reply(200, completion()))
    await caller.generate(ask("openrouter/new/model"))
    await caller.generate(ask("openrouter/new/other"))
    assert "temperature" in upstream.seen[2].body


async def test_what_the_caller_set_is_an_error(caller: Caller, upstream: Upstream) -> None:
    upstream.script(NO_TEMPERATURE)
    error = await caller.failure(ask("openrouter/new/model", config={"temperature": 0.2}))
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert error.field == "config.temperature"
    assert error.http_status == 400
    assert len(upstream.seen) == 1


async def test_what_the_caller_set_is_left_out_with_a_warning(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(NO_TEMPERATURE, reply(200, completion()))
    request = ask(
        "openrouter/new/model",
        config={"temperature": 0.2},
        onUnsupported="UNSUPPORTED_POLICY_WARN",
    )
    answer = await caller.generate(request)
    assert [(one.code, one.field) for one in answer.warnings] == [
        (WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER, "config.temperature")
    ]
    upstream.script(reply(200, completion()))
    await caller.generate(ask("openrouter/new/model", config={"temperature": 1}))
    assert upstream.seen[-1].body["temperature"] == 1, "another value may be taken"


async def test_warnings_are_told_once(caller: Caller, upstream: Upstream) -> None:
    upstream.script(NO_TEMPERATURE, reply(200, completion()))
    request = ask("xai/grok-2", config={"topK": 3}, onUnsupported="UNSUPPORTED_POLICY_WARN")
    answer = await caller.generate(request)
    assert [one.field for one in answer.warnings] == ["config.top_k"]


async def test_a_second_name_is_tried(caller: Caller, upstream: Upstream) -> None:
    upstream.script(
        refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        ),
        reply(200, completion()),
    )
    request = ask("some-model", config={"maxTokens": 9}, target={"baseUrl": upstream.url})
    await caller.generate(request)
    assert upstream.seen[0].body["max_tokens"] == 9
    assert "max_tokens" not in upstream.seen[1].body
    assert upstream.seen[1].body["max_completion_tokens"] == 9


async def test_stream_options_are_left_out(caller: Caller, upstream: Upstream) -> None:
    upstream.script(
        reply(400, {"detail": "stream_options: extra fields not permitted"}),
        sse(delta("x"), delta(finish="stop"), DONE),
    )
    target = {"baseUrl": upstream.url}
    answer = await caller.either(ask("some-model", target=target), True)
    assert answer.message.parts[0].text.text == "x"
    assert "stream_options" in upstream.seen[0].body
    assert "stream_options" not in upstream.seen[1].body


async def test_summaries_of_reasoning_are_left_out(caller: Caller, upstream: Upstream) -> None:
    output = [{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hi"}]}]
    upstream.script(
        refusal(
            "Your organization must be verified to generate reasoning summaries.",
            param="reasoning.summary",
            code="unsupported_value",
        ),
        reply(200, {"id": "r", "status": "completed", "output": output}),
    )
    effort = {"reasoning": {"effort": "REASONING_EFFORT_HIGH"}}
    answer = await caller.generate(ask("openai/gpt-5", config=effort))
    assert [seen.body["reasoning"] for seen in upstream.seen] == [
        {"effort": "high", "summary": "auto"},
        {"effort": "high"},
    ]
    assert answer.message.parts[0].text.text == "Hi"


async def test_signatures_of_another_model_are_left_out(caller: Caller, upstream: Upstream) -> None:
    content = {"parts": [{"text": "Hi"}], "role": "model"}
    done = {"candidates": [{"content": content, "finishReason": "STOP"}], "responseId": "r"}
    refused = {"code": 400, "message": "Corrupted thought signature.", "status": "INVALID_ARGUMENT"}
    upstream.script(reply(400, {"error": refused}), reply(200, done))
    state = {"issuer": "google_generate_content", "data": "U0lH"}
    messages = [
        {"role": "ROLE_USER", "parts": [{"text": {"text": "Hi"}}]},
        {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "Yes?"}, "opaqueState": state}]},
        {"role": "ROLE_USER", "parts": [{"text": {"text": "Bye"}}]},
    ]
    request = ask("google/gemini-2.5-flash", messages=messages)
    answer = await caller.generate(request)
    sent = [seen.body["contents"][1]["parts"][0] for seen in upstream.seen]
    assert sent == [{"text": "Yes?", "thoughtSignature": "SIG"}, {"text": "Yes?"}]
    assert [one.field for one in answer.warnings] == ["messages[1].parts[0].opaque_state"]
    await caller.generate(request)
    assert "thoughtSignature" in upstream.seen[2].body["contents"][1]["parts"][0]


async def test_a_server_that_always_refuses_is_not_asked_for_ever(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(NO_TEMPERATURE)
    error = await caller.failure(ask("openrouter/new/model"))
    assert error.field == "config.temperature"
    assert len(upstream.seen) == 2
    assert len(error.attempts) == 2


@pytest.mark.parametrize(
    ("row", "message", "field"),
    [
        (ANTHROPIC, "`temperature` is deprecated for this model.", "config.temperature"),
        (
            ANTHROPIC,
            '"thinking.type.enabled" is not supported for this model. Use '
            '"thinking.type.adaptive" and "output_config.effort".',
            "config.reasoning",
        ),
        (GOOGLE, "Thinking level is not supported for this model.", "config.reasoning"),
        (GOOGLE, "Unknown name \"topK\" at 'generation_config'", "config.top_k"),
        (XAI, "Model grok-4 does not support parameter reasoningEffort.", "config.reasoning"),
        (
            XAI,
            "Argument not supported on this model: presencePenalty",
            "config.presence_penalty",
        ),
        (CUSTOM, "Unsupported parameter: 'max_tokens'", "config.max_tokens"),
        (OPENAI_CHAT, "temperature must be at most 2", ""),
        (ANTHROPIC, "messages.0: tool use is not supported", ""),
        (ANTHROPIC, "the stopwatch is not supported", ""),
    ],
)
def test_the_parameter_is_found_in_the_words(row: ProviderRow, message: str, field: str) -> None:
    assert refused_field(row, message) == field
