"""Errors of OpenAI Responses: before the first byte, in the body of a 200, and mid-stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_upstream import Caller, Serve, Upstream, ask, reply, sse

from api_service.providers.codec import Upstream as Provider
from api_service.providers.openai_responses import ResponsesCodec
from api_service.providers.table import OPENAI, PROVIDERS
from marsys.v1 import ErrorReason, FinishReason, ModelError
from serving.errors import ServiceError
from serving.event_writer import EventWriter

R = ErrorReason
PROVIDER = Provider(OPENAI, "gpt-5", redact=lambda text: text.replace("sk-secret", "[hidden]"))
NOW = 1_768_775_269.0
HEAD = {"id": "resp_1", "object": "response", "created_at": 1768775269, "model": "gpt-5"}
CREATED = {"type": "response.created", "response": HEAD | {"status": "in_progress", "output": []}}
DELTA = {
    "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
    "content_index": 0, "delta": "Hel",
}  # fmt: skip


def error(
    message: str, code: str | None = None, kind: str = "invalid_request_error", **more: Any
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code} | more}


# status, body -> reason, retryable, field, code that is told
ROWS: list[tuple[int, Any, int, bool, str, str]] = [
    (
        400, error("Unsupported parameter: 'temperature' is not supported with this model.",
                   "unsupported_parameter", param="temperature"),
        R.ERROR_REASON_UNSUPPORTED_PARAMETER, False, "config.temperature", "unsupported_parameter",
    ),
    (
        400, error("Invalid 'max_output_tokens': integer below minimum value.",
                   "integer_below_min_value", param="max_output_tokens"),
        R.ERROR_REASON_INVALID_REQUEST, False, "config.max_tokens", "integer_below_min_value",
    ),
    (
        400, error("Unsupported value: 'minimal' is not supported with the 'gpt-5.2' model.",
                   "unsupported_value", param="reasoning.effort"),
        R.ERROR_REASON_UNSUPPORTED_PARAMETER, False, "config.reasoning", "unsupported_value",
    ),
    (
        400, error("Item 'rs_1' of type 'reasoning' was provided without its required following "
                   "item.", param="input"),
        R.ERROR_REASON_INVALID_REQUEST, False, "messages", "invalid_request_error",
    ),
    (
        400, error("Invalid schema for response_format 'x'.", "invalid_json_schema",
                   param="text.format.schema"),
        R.ERROR_REASON_INVALID_REQUEST, False, "output_format", "invalid_json_schema",
    ),
    (
        400, error("Your input exceeds the context window of this model.",
                   "context_length_exceeded", param="input"),
        R.ERROR_REASON_TOKEN_LIMIT, False, "messages", "context_length_exceeded",
    ),
    (
        400, error("Invalid prompt: your prompt was flagged.", "invalid_prompt"),
        R.ERROR_REASON_INVALID_REQUEST, False, "", "invalid_prompt",
    ),
    (
        401, error("Incorrect API key provided: sk-secret.", "invalid_api_key"),
        R.ERROR_REASON_AUTHENTICATION_FAILED, False, "", "invalid_api_key",
    ),
    (
        403, error("Country not supported.", "unsupported_country_region_territory"),
        R.ERROR_REASON_PERMISSION_DENIED, False, "", "unsupported_country_region_territory",
    ),
    (
        404, error("The model `gpt-9` does not exist.", "model_not_found", param="model"),
        R.ERROR_REASON_INVALID_MODEL, False, "model", "model_not_found",
    ),
    (
        413, error("Request too large."),
        R.ERROR_REASON_REQUEST_TOO_LARGE, False, "", "invalid_request_error",
    ),
    (
        429, error("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
        R.ERROR_REASON_INSUFFICIENT_CREDITS, False, "", "insufficient_quota",
    ),
    (
        429, error("Rate limit reached.", "rate_limit_exceeded", "tokens"),
        R.ERROR_REASON_RATE_LIMIT, True, "", "rate_limit_exceeded",
    ),
    (
        500, error("The server had an error.", None, "server_error"),
        R.ERROR_REASON_SERVICE_UNAVAILABLE, True, "", "server_error",
    ),
    (
        503, error("Overloaded.", "server_is_overloaded", "service_unavailable_error"),
        R.ERROR_REASON_SERVICE_UNAVAILABLE, True, "", "server_is_overloaded",
    ),
    (
        408, error("Timed out."),
        R.ERROR_REASON_TIMEOUT, True, "", "invalid_request_error",
    ),
    # The backend of a subscription.
    (
        400, {"detail": "Unsupported parameter: max_output_tokens"},
        R.ERROR_REASON_UNSUPPORTED_PARAMETER, False, "config.max_tokens", "",
    ),
    (
        400, {"detail": "Instructions are required"},
        R.ERROR_REASON_INVALID_REQUEST, False, "", "",
    ),
    (
        429, {"error": {"type": "usage_limit_reached", "message": "The usage limit was reached.",
                        "plan_type": "plus", "resets_at": NOW + 90}},
        R.ERROR_REASON_RATE_LIMIT, True, "", "usage_limit_reached",
    ),
    (
        403, {"error": {"type": "usage_not_included", "message": "To use Codex, upgrade."}},
        R.ERROR_REASON_PERMISSION_DENIED, False, "", "usage_not_included",
    ),
    (502, b"<html>Bad gateway</html>", R.ERROR_REASON_SERVICE_UNAVAILABLE, True, "", ""),
    (400, b"", R.ERROR_REASON_INVALID_REQUEST, False, "", ""),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[5]}")
def test_before_the_first_byte(row: tuple[int, Any, int, bool, str, str]) -> None:
    status, body, reason, retryable, field, code = row
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = ResponsesCodec().decode_error(PROVIDER, status, {"x-request-id": "req_1"}, raw, NOW)
    assert told.reason == reason
    assert told.retryable is retryable
    assert told.field == field
    assert told.provider_code == code
    assert told.http_status == status
    assert told.provider_request_id == "req_1"
    assert told.suggested_action
    assert "sk-secret" not in str(told)


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "7"}, error("Slow down."), 7.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, error("Slow down."), 1.5),
        ({}, error("Please try again in 1.898s.", "rate_limit_exceeded"), 1.898),
        ({}, {"error": {"type": "usage_limit_reached", "resets_at": NOW + 90}}, 90.0),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
            error("Slow down."),
            360.0,
        ),
        ({}, error("Slow down."), None),
    ],
)
def test_waits(headers: dict[str, str], body: Any, wait: float | None) -> None:
    raw = json.dumps(body).encode()
    told = ResponsesCodec().decode_error(PROVIDER, 429, headers, raw, NOW)
    assert told.HasField("retry_after") == (wait is not None)
    if wait is not None:
        assert told.retry_after.ToMilliseconds() == round(wait * 1000)


def test_token_limit_tells_the_numbers() -> None:
    message = (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in "
        "130012 tokens."
    )
    body = json.dumps(error(message, "context_length_exceeded")).encode()
    told = ResponsesCodec().decode_error(PROVIDER, 400, {}, body, NOW)
    assert (told.token_limit, told.token_count) == (128000, 130012)


def failed(code: str | None, message: str, **more: Any) -> dict[str, Any]:
    return HEAD | {
        "status": "failed",
        "output": [],
        "error": {"code": code, "message": message, **more},
    }


# code -> reason, retryable, status that it stands for
CODES: list[tuple[str, int, bool, int | None]] = [
    ("server_error", R.ERROR_REASON_SERVICE_UNAVAILABLE, True, 500),
    ("rate_limit_exceeded", R.ERROR_REASON_RATE_LIMIT, True, 429),
    ("invalid_prompt", R.ERROR_REASON_INVALID_REQUEST, False, 400),
    ("data_residency_mismatch", R.ERROR_REASON_INVALID_REQUEST, False, 400),
    ("bio_policy", R.ERROR_REASON_REFUSAL, False, None),
    ("misalignment_policy_violation", R.ERROR_REASON_REFUSAL, False, None),
    ("vector_store_timeout", R.ERROR_REASON_SERVICE_UNAVAILABLE, True, 504),
    ("invalid_image", R.ERROR_REASON_INVALID_REQUEST, False, 400),
    ("image_too_large", R.ERROR_REASON_INVALID_REQUEST, False, 400),
    ("image_content_policy_violation", R.ERROR_REASON_REFUSAL, False, None),
    ("failed_to_download_image", R.ERROR_REASON_INVALID_REQUEST, False, 400),
    ("context_length_exceeded", R.ERROR_REASON_TOKEN_LIMIT, False, 400),
    ("insufficient_quota", R.ERROR_REASON_INSUFFICIENT_CREDITS, False, 429),
    ("usage_not_included", R.ERROR_REASON_PERMISSION_DENIED, False, None),
    ("server_is_overloaded", R.ERROR_REASON_SERVICE_UNAVAILABLE, True, 503),
    ("slow_down", R.ERROR_REASON_SERVICE_UNAVAILABLE, True, 503),
    ("novelty", R.ERROR_REASON_UNKNOWN, False, None),
]


def decoded(*events: Any) -> ModelError:
    """The error that a stream of events gives."""
    decoder = ResponsesCodec().decoder(PROVIDER, EventWriter())
    with pytest.raises(ServiceError) as caught:
        for event in events:
            data = event if isinstance(event, bytes) else json.dumps(event).encode()
            decoder.feed(b"data: " + data + b"\n\n")
        decoder.end()
    return caught.value.error


def decoded_whole(body: Any) -> ModelError:
    decoder = ResponsesCodec().decoder(PROVIDER, EventWriter())
    with pytest.raises(ServiceError) as caught:
        decoder.decode(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value.error


@pytest.mark.parametrize("row", CODES, ids=lambda row: row[0])
def test_in_the_body_and_mid_stream(row: tuple[str, int, bool, int | None]) -> None:
    code, reason, retryable, status = row
    response = failed(code, "So it is. Please try again in 20s.")
    flat = {"type": "error", "code": code, "message": response["error"]["message"], "param": None}
    nested = {"type": "error", "error": response["error"]}
    for told in (
        decoded_whole(response),
        decoded_whole({"error": response["error"]}),
        decoded(CREATED, DELTA, {"type": "response.failed", "response": response}),
        decoded(CREATED, DELTA, flat),
        decoded(CREATED, nested),
        decoded({"error": response["error"]}),
    ):
        assert told.reason == reason
        assert told.retryable is retryable
        assert told.provider_code == code
        assert told.HasField("http_status") == (status is not None)
        assert told.http_status == (status or 0)
        assert "So it is." in told.message
        assert told.HasField("retry_after") == retryable
        assert told.suggested_action


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([{"type": "response.failed", "response": HEAD | {"status": "failed", "error": None}}],
         R.ERROR_REASON_UNKNOWN),
        ([{"type": "response.failed"}], R.ERROR_REASON_UNKNOWN),
        ([{"type": "response.completed", "response": HEAD | {"status": "cancelled"}}],
         R.ERROR_REASON_UNKNOWN),
        ([{"type": "error"}], R.ERROR_REASON_UNKNOWN),
        ([{"detail": "Unauthorized"}], R.ERROR_REASON_UNKNOWN),
        ([CREATED], R.ERROR_REASON_MALFORMED_RESPONSE),
        ([CREATED, DELTA], R.ERROR_REASON_MALFORMED_RESPONSE),
        ([CREATED, DELTA, b"[DONE]"], R.ERROR_REASON_MALFORMED_RESPONSE),
        ([CREATED, b"{"], R.ERROR_REASON_MALFORMED_RESPONSE),
        ([CREATED, b"[1]"], R.ERROR_REASON_MALFORMED_RESPONSE),
        ([], R.ERROR_REASON_MALFORMED_RESPONSE),
        ([CREATED, {"type": "response.completed", "response": HEAD | {"status": "completed"}}],
         R.ERROR_REASON_EMPTY_COMPLETION),
    ],
)  # fmt: skip
def test_streams_without_an_answer(events: list[Any], reason: int) -> None:
    told = decoded(*events)
    assert told.reason == reason
    assert told.message


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": ""}
ADDED = {"type": "response.output_item.added", "output_index": 0, "item": CALL}
ARGUMENTS = {
    "type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":1',
}  # fmt: skip


@pytest.mark.parametrize("given", ['{"a":2}', "{}", '{"b'])
def test_arguments_that_contradict_themselves(given: str) -> None:
    """Nobody may call a tool with them."""
    end = {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": CALL | {"arguments": given},
    }
    told = decoded(CREATED, ADDED, ARGUMENTS, end)
    assert told.reason == R.ERROR_REASON_MALFORMED_RESPONSE


def test_a_call_without_a_name() -> None:
    nameless = {"type": "function_call", "id": "fc_1", "call_id": "c1", "arguments": "{}"}
    whole = HEAD | {"status": "completed", "output": [nameless]}
    assert decoded_whole(whole).reason == R.ERROR_REASON_MALFORMED_RESPONSE


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"x"', b"null", b"\xff", b'{"output":1}'])
def test_bodies_that_are_no_answer(body: bytes) -> None:
    assert decoded_whole(body).reason in (
        R.ERROR_REASON_MALFORMED_RESPONSE,
        R.ERROR_REASON_UNKNOWN,
    )


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_answers_that_are_still_being_made(status: str) -> None:
    told = decoded_whole(HEAD | {"status": status, "output": [], "error": None})
    assert told.reason == R.ERROR_REASON_INVALID_REQUEST
    assert told.field == 'provider_options_json["background"]'
    assert not told.retryable


@pytest.fixture
async def caller(serve: Serve, upstream: Upstream) -> Caller:
    """A client of a service whose openai speaks Responses."""
    providers = {"openai": {"base_url": upstream.url, "api_key": "sk-operator-canary-0001"}}
    return await serve(rows={**PROVIDERS, "openai": OPENAI}, providers=providers)


ANSWER = HEAD | {
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
}
END = {"type": "response.completed", "response": ANSWER}


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_any_content_are_repeated(
    caller: Caller, upstream: Upstream, stream: bool
) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    thinks = {"type": "response.output_item.added", "output_index": 0, "item": reasoning}
    broken = failed("server_error", "The server had an error.")
    failure = {"type": "response.failed", "response": broken}
    upstream.script(
        reply(500, error("Broken.", None, "server_error")),
        sse(CREATED, thinks, failure) if stream else reply(200, broken),
        sse(CREATED, END) if stream else reply(200, ANSWER),
    )
    answer = await caller.either(ask("openai/gpt-5"), stream)
    assert [attempt.reason for attempt in answer.attempts] == ["SERVICE_UNAVAILABLE"] * 2
    assert [attempt.http_status for attempt in answer.attempts] == [500, 500]
    assert answer.message.parts[0].text.text == "Hello."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert [seen.path for seen in upstream.seen] == ["/v1/responses"] * 3
    assert all(seen.body["store"] is False for seen in upstream.seen)


async def test_a_failure_after_content_is_not_repeated(caller: Caller, upstream: Upstream) -> None:
    broken = {"type": "response.failed", "response": failed("server_error", "Broken.")}
    upstream.script(sse(CREATED, DELTA, broken))
    told = await caller.failure(ask("openai/gpt-5"), stream=True)
    assert told.reason == R.ERROR_REASON_SERVICE_UNAVAILABLE
    assert len(told.attempts) == len(upstream.seen) == 1


async def test_a_background_answer_is_not_asked_for_again(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(reply(200, HEAD | {"status": "queued", "output": [], "error": None}))
    request = ask("openai/gpt-4o", providerOptionsJson={"background": "true", "store": "true"})
    told = await caller.failure(request)
    assert told.field == 'provider_options_json["background"]'
    assert len(upstream.seen) == 1


async def test_a_truncated_stream_is_an_error(caller: Caller, upstream: Upstream) -> None:
    upstream.script(sse(CREATED, DELTA))
    told = await caller.failure(ask("openai/gpt-4o"), stream=True)
    assert told.reason == R.ERROR_REASON_MALFORMED_RESPONSE
