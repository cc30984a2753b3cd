"""Errors of providers: each row of the tables, and how long to wait."""

from __future__ import annotations

import email.utils
import json
from typing import Any

import pytest

from api_service.providers.codec import Upstream
from api_service.providers.openai_chat import ChatCodec
from api_service.providers.table import CUSTOM, OPENAI, OPENROUTER, XAI, ProviderRow
from marsys.v1 import ErrorReason, ModelError

NOW = 1_700_000_000.0


def error_for(
    row: ProviderRow, status: int, body: Any, headers: dict[str, str] | None = None
) -> ModelError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    upstream = Upstream(row, "some-model", lambda text: text.replace("sk-secret", "[secret]"))
    return ChatCodec().decode_error(upstream, status, headers or {}, raw, NOW)


def said(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


ROWS = [OPENAI, OPENROUTER, XAI, CUSTOM]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (400, "INVALID_REQUEST", False),
        (401, "AUTHENTICATION_FAILED", False),
        (402, "INSUFFICIENT_CREDITS", False),
        (403, "PERMISSION_DENIED", False),
        (404, "INVALID_MODEL", False),
        (408, "TIMEOUT", True),
        (409, "SERVICE_UNAVAILABLE", True),
        (413, "REQUEST_TOO_LARGE", False),
        (418, "UNKNOWN", False),
        (422, "INVALID_REQUEST", False),
        (429, "RATE_LIMIT", True),
        (500, "SERVICE_UNAVAILABLE", True),
        (502, "SERVICE_UNAVAILABLE", True),
        (503, "SERVICE_UNAVAILABLE", True),
        (504, "SERVICE_UNAVAILABLE", True),
        (529, "SERVICE_UNAVAILABLE", True),
    ],
)
def test_status(row: ProviderRow, status: int, reason: str, retryable: bool) -> None:
    error = error_for(row, status, said("words"))
    assert ErrorReason.Name(error.reason) == f"ERROR_REASON_{reason}"
    assert error.retryable is retryable
    assert (error.provider, error.model, error.http_status) == (row.name, "some-model", status)
    assert "words" in error.message
    assert error.suggested_action


@pytest.mark.parametrize(
    ("row", "status", "body", "reason"),
    [
        (OPENAI, 429, said("x", code="insufficient_quota"), "INSUFFICIENT_CREDITS"),
        (OPENAI, 429, said("x", type="insufficient_quota"), "INSUFFICIENT_CREDITS"),
        (OPENAI, 400, said("x", code="context_length_exceeded"), "TOKEN_LIMIT"),
        (OPENAI, 400, said("x", code="model_not_found"), "INVALID_MODEL"),
        (OPENAI, 400, said("x", code="unsupported_parameter"), "UNSUPPORTED_PARAMETER"),
        (OPENAI, 400, said("Request body is too large"), "REQUEST_TOO_LARGE"),
        (XAI, 400, {"code": "x", "error": "Incorrect API key provided"}, "AUTHENTICATION_FAILED"),
        (XAI, 403, {"code": "no", "error": "Your team has no access"}, "PERMISSION_DENIED"),
        (OPENROUTER, 400, said("too many tokens"), "TOKEN_LIMIT"),
        (OPENROUTER, 403, said("flagged", metadata={"reasons": ["hate"]}), "PERMISSION_DENIED"),
        (CUSTOM, 422, {"detail": [{"loc": ["body", "n"], "msg": "bad"}]}, "INVALID_REQUEST"),
        (CUSTOM, 400, {"object": "error", "message": "no", "code": 400}, "INVALID_REQUEST"),
        (CUSTOM, 502, b"<html>Bad Gateway</html>", "SERVICE_UNAVAILABLE"),
        (CUSTOM, 500, b"", "SERVICE_UNAVAILABLE"),
        (CUSTOM, 307, b"", "MALFORMED_RESPONSE"),
    ],
)
def test_what_the_body_adds(row: ProviderRow, status: int, body: Any, reason: str) -> None:
    error = error_for(row, status, body)
    assert ErrorReason.Name(error.reason) == f"ERROR_REASON_{reason}"


def test_insufficient_quota_is_not_retried() -> None:
    assert not error_for(OPENAI, 429, said("x", code="insufficient_quota")).retryable


def test_openrouter_budget_in_flight_is_a_rate_limit() -> None:
    body = said("busy", metadata={"limit_source": "in_flight"})
    error = error_for(OPENROUTER, 402, body, {"retry-after": "3"})
    assert error.reason == ErrorReason.ERROR_REASON_RATE_LIMIT


@pytest.mark.parametrize(
    ("message", "limit", "count"),
    [
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 10000 tokens. Please reduce the length of the messages.",
            8192,
            10000,
        ),
        (
            "This endpoint's maximum context length is 131,072 tokens. However, you requested "
            "about 200,015 tokens (200000 of text input, 15 in the output).",
            131072,
            200015,
        ),
        (
            "This model's maximum context length is 512 tokens and your request has 36 input "
            "tokens (8192 > 512 - 36).",
            512,
            36,
        ),
        (
            "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
            131072,
            200000,
        ),
        ("prompt is too long: 200100 tokens > 200000 maximum", 200000, 200100),
        ("This model's maximum context length was exceeded.", 0, 0),
    ],
)
def test_token_limit(message: str, limit: int, count: int) -> None:
    error = error_for(CUSTOM, 400, said(message, code="context_length_exceeded"))
    assert error.reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT
    assert (error.token_limit, error.token_count) == (limit, count)
    assert error.HasField("token_limit") is bool(limit)


@pytest.mark.parametrize(
    ("headers", "body", "delay"),
    [
        ({"retry-after-ms": "250"}, {}, 0.25),
        ({"retry-after": "2"}, {}, 2),
        ({"retry-after": "1.5"}, {}, 1.5),
        ({"retry-after": "-3"}, {}, 0),
        ({"retry-after": email.utils.formatdate(NOW + 20, usegmt=True)}, {}, 20),
        ({"retry-after": email.utils.formatdate(NOW - 20, usegmt=True)}, {}, 0),
        ({"x-ratelimit-reset-after": "4"}, {}, 4),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, {}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, {}, 0.12),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "9s"}, {}, None),
        ({"x-ratelimit-reset": str(int((NOW + 30) * 1000))}, {}, 30),
        ({"x-ratelimit-reset": str(int(NOW + 30))}, {}, 30),
        ({}, {"metadata": {"headers": {"X-RateLimit-Reset": str(int((NOW + 5) * 1000))}}}, 5),
        ({}, {"resets_in_seconds": 7}, 7),
        ({}, {"details": [{"retryDelay": "38.5s"}]}, 38.5),
        ({}, {"message": "Rate limit reached. Please try again in 1.5s."}, 1.5),
        ({}, {"message": "Please try again in 300ms"}, 0.3),
        ({"retry-after": "soon"}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "1e999"}, {}, None),
        ({}, {}, None),
        ({"retry-after": "2"}, {"message": "try again in 9s"}, 2),
    ],
)
def test_retry_delay(headers: dict[str, str], body: dict[str, Any], delay: float | None) -> None:
    error = error_for(OPENROUTER, 429, {"error": {"message": "slow down", **body}}, headers)
    told = error.retry_after.ToMilliseconds() / 1000 if error.HasField("retry_after") else None
    assert told == (None if delay is None else pytest.approx(delay, abs=0.01))


@pytest.mark.parametrize(
    ("status", "header", "retryable"), [(503, "false", False), (400, "true", True)]
)
def test_provider_says_whether_to_retry(status: int, header: str, retryable: bool) -> None:
    error = error_for(OPENAI, status, said("x"), {"x-should-retry": header})
    assert error.retryable is retryable


def test_action_names_the_key_and_the_shop() -> None:
    assert "OPENAI_API_KEY" in error_for(OPENAI, 401, said("no")).suggested_action
    assert "https://console.x.ai/billing" in error_for(XAI, 402, said("no")).suggested_action


def test_details() -> None:
    body = said("bad", type="invalid_request_error", param="max_completion_tokens", code="c1")
    error = error_for(OPENAI, 400, body, {"x-request-id": "req_1"})
    assert error.field == "config.max_tokens"
    assert (error.provider_code, error.provider_request_id) == ("c1", "req_1")


def test_provider_text_is_cut_and_hides_the_key() -> None:
    error = error_for(OPENAI, 400, said("your key sk-secret " + "x" * 5000, code="sk-secret"))
    assert "sk-secret" not in str(error)
    assert len(error.message) < 1200
