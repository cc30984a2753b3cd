"""Errors of Anthropic: what each means, before the first byte, in a 200, and in the middle."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_upstream import Caller, Upstream, ask, reply, sse

from api_service.providers.anthropic import AnthropicCodec
from api_service.providers.codec import Upstream as Whom
from api_service.providers.table import ANTHROPIC
from marsys.rpc.reasons import meaning
from marsys.v1 import CountPrecision, CountTokensRequest, ErrorReason, ModelError

R = ErrorReason
MODEL = "anthropic/claude-sonnet-4-5"
NOW = 1_800_000_000.0


def body(kind: str, message: str = "No.") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def error_of(status: int, content: Any, headers: dict[str, str] | None = None) -> ModelError:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    whom = Whom(ANTHROPIC, "claude-sonnet-4-5")
    return AnthropicCodec().decode_error(whom, status, headers or {}, text, NOW)


@pytest.mark.parametrize(
    ("status", "kind", "message", "reason", "retryable"),
    [
        (400, "invalid_request_error", "x: bad", R.ERROR_REASON_INVALID_REQUEST, False),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.",
            R.ERROR_REASON_INSUFFICIENT_CREDITS,
            False,
        ),
        (
            401,
            "authentication_error",
            "invalid x-api-key",
            R.ERROR_REASON_AUTHENTICATION_FAILED,
            False,
        ),
        (402, "billing_error", "Pay.", R.ERROR_REASON_INSUFFICIENT_CREDITS, False),
        (403, "permission_error", "No.", R.ERROR_REASON_PERMISSION_DENIED, False),
        (404, "not_found_error", "model: claude-x", R.ERROR_REASON_INVALID_MODEL, False),
        (409, "conflict_error", "Again.", R.ERROR_REASON_SERVICE_UNAVAILABLE, True),
        (413, "request_too_large", "Too large.", R.ERROR_REASON_REQUEST_TOO_LARGE, False),
        (429, "rate_limit_error", "Slow down.", R.ERROR_REASON_RATE_LIMIT, True),
        (500, "api_error", "Internal.", R.ERROR_REASON_SERVICE_UNAVAILABLE, True),
        (504, "timeout_error", "Late.", R.ERROR_REASON_SERVICE_UNAVAILABLE, True),
        (529, "overloaded_error", "Overloaded", R.ERROR_REASON_SERVICE_UNAVAILABLE, True),
    ],
)
def test_status(status: int, kind: str, message: str, reason: R.ValueType, retryable: bool) -> None:
    error = error_of(status, body(kind, message), {"request-id": "req_9"})
    assert error.reason == reason
    assert error.retryable == retryable
    assert error.http_status == status
    assert error.provider_code == kind
    assert error.provider_request_id == "req_9"
    assert message in error.message
    assert error.suggested_action
    assert meaning(error.reason).classification


@pytest.mark.parametrize(
    ("message", "limit", "count"),
    [
        ("prompt is too long: 210345 tokens > 200000 maximum", 200000, 210345),
        (
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
            "decrease input length or `max_tokens` and try again",
            200000,
            210000,
        ),
    ],
)
def test_the_context_is_told(message: str, limit: int, count: int) -> None:
    error = error_of(400, body("invalid_request_error", message))
    assert error.reason == R.ERROR_REASON_TOKEN_LIMIT
    assert error.token_limit == limit
    assert error.token_count == count


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:30Z",
            },
            30,
        ),
    ],
)
def test_the_wait_is_told(headers: dict[str, str], seconds: float) -> None:
    error = error_of(429, body("rate_limit_error"), headers)
    assert error.retry_after.ToMilliseconds() == seconds * 1000


@pytest.mark.parametrize("content", [b"", b"<html>Bad gateway</html>", b"[]", b'{"type":5}'])
def test_bodies_that_are_no_errors(content: bytes) -> None:
    error = error_of(502, content)
    assert error.reason == R.ERROR_REASON_SERVICE_UNAVAILABLE
    assert error.retryable


START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 3}},
}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Par"}}
STOP = [
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    [
        ("overloaded_error", R.ERROR_REASON_SERVICE_UNAVAILABLE, 529),
        ("api_error", R.ERROR_REASON_SERVICE_UNAVAILABLE, 500),
        ("rate_limit_error", R.ERROR_REASON_RATE_LIMIT, 429),
        ("invalid_request_error", R.ERROR_REASON_INVALID_REQUEST, 400),
    ],
)
async def test_an_error_amid_the_stream(
    caller: Caller, upstream: Upstream, kind: str, reason: R.ValueType, status: int
) -> None:
    upstream.script(sse(START, BLOCK, TEXT, body(kind)))
    error = await caller.failure(ask(MODEL), stream=True)
    assert error.reason == reason
    assert error.http_status == status
    assert len(upstream.seen) == 1, "nothing is sent again after content"


async def test_an_error_before_the_first_content_is_tried_again(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(
        sse(START, {"type": "ping"}, body("overloaded_error")), sse(START, BLOCK, TEXT, *STOP)
    )
    answer = await caller.either(ask(MODEL), True)
    assert answer.message.parts[0].text.text == "Par"
    assert [attempt.http_status for attempt in answer.attempts] == [529]


@pytest.mark.parametrize("kept", [2, 3, 4, 5])
async def test_a_truncated_stream_is_an_error(
    caller: Caller, upstream: Upstream, kept: int
) -> None:
    upstream.script(sse(*[START, BLOCK, TEXT, *STOP][:kept]))
    error = await caller.failure(ask(MODEL, policy={"maxAttempts": 1}), stream=True)
    assert error.reason == R.ERROR_REASON_MALFORMED_RESPONSE


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("stop", "reason", "retried"),
    [
        ("refusal", R.ERROR_REASON_REFUSAL, False),
        ("end_turn", R.ERROR_REASON_EMPTY_COMPLETION, False),
        ("stop_sequence", R.ERROR_REASON_EMPTY_COMPLETION, True),
    ],
)
@pytest.mark.parametrize("blocks", [[], [{"type": "text", "text": ""}]], ids=["none", "no text"])
async def test_an_empty_answer(
    caller: Caller,
    upstream: Upstream,
    stop: str,
    reason: R.ValueType,
    retried: bool,
    stream: bool,
    blocks: list[dict[str, Any]],
) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "It could do harm."}
    end = {"stop_reason": stop, "stop_details": details if stop == "refusal" else None}
    if stream:
        delta = {"type": "message_delta", "delta": end, "usage": {"output_tokens": 0}}
        block = [BLOCK, STOP[0]] if blocks else []
        upstream.script(sse(START, *block, delta, {"type": "message_stop"}))
    else:
        upstream.script(reply(200, {"type": "message", "id": "m", "content": blocks, **end}))
    error = await caller.failure(ask(MODEL, policy={"maxAttempts": 1}), stream)
    assert error.reason == reason
    assert error.retryable == retried
    if stop == "refusal":
        assert "It could do harm." in error.message
    if retried:
        assert error.retry_after.ToMilliseconds() == 5000


async def test_an_error_in_the_body_of_a_200(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(200, body("rate_limit_error")))
    error = await caller.failure(ask(MODEL, policy={"maxAttempts": 1}))
    assert error.reason == R.ERROR_REASON_RATE_LIMIT


async def test_tokens_are_counted_by_the_provider(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(529, body("overloaded_error")), reply(200, {"input_tokens": 2095}))
    count = await caller.inference.CountTokens(CountTokensRequest(request=ask(MODEL)))
    assert count.input_tokens == 2095
    assert count.precision == CountPrecision.COUNT_PRECISION_EXACT
    assert upstream.seen[1].path.endswith("/messages/count_tokens")
    assert upstream.seen[1].body.keys() == {"model", "messages", "thinking"}


async def test_headers_and_address(caller: Caller, upstream: Upstream) -> None:
    upstream.script(
        reply(
            200,
            {
                "type": "message", "id": "m", "content": [{"type": "text", "text": "Hi"}],
                "stop_reason": "end_turn",
            },
        )
    )  # fmt: skip
    await caller.generate(ask("anthropic/claude-opus-4.6"))
    seen = upstream.seen[0]
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == "sk-operator-canary-0001"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in seen.headers
    assert seen.body["model"] == "claude-opus-4-6"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"config": {"topK": 3}, "model": "claude-opus-4-8"}, "config.top_k"),
        ({"config": {"seed": 7}}, "config.seed"),
        ({"config": {"temperature": 0.5, "topP": 0.5}}, "config.top_p"),
        (
            {"config": {"temperature": 0.5, "reasoning": {"budgetTokens": 2000}}},
            "config.temperature",
        ),
        (
            {"config": {"maxTokens": 900, "reasoning": {"budgetTokens": 2000}}},
            "config.reasoning.budget_tokens",
        ),
        (
            {
                "config": {"reasoning": {"effort": "REASONING_EFFORT_LOW"}},
                "model": "claude-3-5-haiku-latest",
            },
            "config.reasoning.effort",
        ),
        ({"outputFormat": {"regex": {"pattern": "a"}}}, "output_format.regex"),
        (
            {"outputFormat": {"jsonSchema": {"schemaJson": '{"type":"object"}'}}},
            "output_format.json_schema",
        ),
        ({"providerOptionsJson": {"betas": '"x"'}}, 'provider_options_json["betas"]'),
        ({"providerOptionsJson": {"stream": "true"}}, 'provider_options_json["stream"]'),
    ],
)
async def test_what_is_not_taken_is_refused(
    caller: Caller, upstream: Upstream, fields: dict[str, Any], field: str
) -> None:
    fields = dict(fields)
    model = fields.pop("model", "claude-sonnet-4-5")
    error = await caller.failure(ask(f"anthropic/{model}", **fields))
    assert error.field == field
    assert not upstream.seen


async def test_a_server_that_counts_no_tokens(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(404, {"detail": "Not Found"}))
    count = await caller.inference.CountTokens(CountTokensRequest(request=ask(MODEL)))
    assert count.input_tokens > 0
    assert count.precision == CountPrecision.COUNT_PRECISION_ESTIMATED
