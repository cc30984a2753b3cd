"""Google's errors: before the first byte, in the body of a 200, and in the middle of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_upstream import Caller, Upstream, ask, reply, sse

from api_service.providers.codec import Upstream as Provider
from api_service.providers.google import GoogleCodec
from api_service.providers.table import GOOGLE
from marsys.v1 import ErrorReason, FinishReason, ListModelsRequest, ModelError
from serving.errors import ServiceError
from serving.event_writer import EventWriter

R = ErrorReason
PROVIDER = Provider(GOOGLE, "gemini-2.5-flash")
TYPE = "type.googleapis.com/google.rpc."


def status(code: int, word: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    error = {"code": code, "message": message, "status": word}
    return {"error": error | ({"details": list(details)} if details else {})}


def quota(*ids: str) -> dict[str, Any]:
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/x", "quotaId": i} for i in ids]
    return {"@type": TYPE + "QuotaFailure", "violations": violations}


def retry(delay: str) -> dict[str, Any]:
    return {"@type": TYPE + "RetryInfo", "retryDelay": delay}


def info(reason: str) -> dict[str, Any]:
    return {"@type": TYPE + "ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def bad(field: str) -> dict[str, Any]:
    violation = {"field": field, "description": "wrong"}
    return {"@type": TYPE + "BadRequest", "fieldViolations": [violation]}


QUOTA = "You exceeded your current quota, please check your plan and billing details."
MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"

# body -> reason, retryable, wait in seconds, words of the field
ROWS: list[tuple[dict[str, Any], int, bool, float | None, str]] = [
    (
        status(429, "RESOURCE_EXHAUSTED", QUOTA, quota(MINUTE), retry("45.837906927s")),
        R.ERROR_REASON_RATE_LIMIT, True, 45.838, "",
    ),
    (
        status(429, "RESOURCE_EXHAUSTED", QUOTA, quota(DAY), retry("38s")),
        R.ERROR_REASON_INSUFFICIENT_CREDITS, False, None, "",
    ),
    (
        status(429, "RESOURCE_EXHAUSTED", QUOTA, quota(MINUTE, DAY)),
        R.ERROR_REASON_INSUFFICIENT_CREDITS, False, None, "",
    ),
    (
        status(429, "RESOURCE_EXHAUSTED", "Quota exceeded. Please retry in 38.9s."),
        R.ERROR_REASON_RATE_LIMIT, True, 38.9, "",
    ),
    (
        status(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        R.ERROR_REASON_RATE_LIMIT, True, None, "",
    ),
    (
        status(400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID")),
        R.ERROR_REASON_AUTHENTICATION_FAILED, False, None, "",
    ),
    (
        status(400, "INVALID_ARGUMENT", "API key expired.", info("API_KEY_INVALID")),
        R.ERROR_REASON_AUTHENTICATION_FAILED, False, None, "",
    ),
    (
        status(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        R.ERROR_REASON_PERMISSION_DENIED, False, None, "",
    ),
    (
        status(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        R.ERROR_REASON_AUTHENTICATION_FAILED, False, None, "",
    ),
    (
        status(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers."),
        R.ERROR_REASON_PERMISSION_DENIED, False, None, "",
    ),
    (
        status(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta"),
        R.ERROR_REASON_INVALID_MODEL, False, None, "",
    ),
    (
        status(400, "INVALID_ARGUMENT", "Bad content.", bad("contents[0].parts[1].inline_data")),
        R.ERROR_REASON_INVALID_REQUEST, False, None, "messages",
    ),
    (
        status(400, "INVALID_ARGUMENT", "Out of range.", bad("generation_config.top_k")),
        R.ERROR_REASON_INVALID_REQUEST, False, None, "config.top_k",
    ),
    (
        status(400, "INVALID_ARGUMENT", "Budget 0 is invalid. This model only works in thinking."),
        R.ERROR_REASON_UNSUPPORTED_PARAMETER, False, None, "config.reasoning.budget_tokens",
    ),
    (
        status(400, "INVALID_ARGUMENT", "Penalty is not enabled for models/gemini-2.5-flash"),
        R.ERROR_REASON_UNSUPPORTED_PARAMETER, False, None, "",
    ),
    (
        status(400, "INVALID_ARGUMENT", "Corrupted thought signature."),
        R.ERROR_REASON_INVALID_REQUEST, False, None, "messages",
    ),
    (
        status(500, "INTERNAL", "An internal error has occurred."),
        R.ERROR_REASON_SERVICE_UNAVAILABLE, True, None, "",
    ),
    (
        status(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        R.ERROR_REASON_SERVICE_UNAVAILABLE, True, None, "",
    ),
    (
        status(504, "DEADLINE_EXCEEDED", "The request timed out."),
        R.ERROR_REASON_SERVICE_UNAVAILABLE, True, None, "",
    ),
]  # fmt: skip


def check(error: ModelError, row: tuple[dict[str, Any], int, bool, float | None, str]) -> None:
    body, reason, retryable, wait, field = row
    assert error.reason == reason
    assert error.retryable is retryable
    assert error.http_status == body["error"]["code"]
    assert error.provider_code == body["error"]["status"]
    assert error.field == field
    assert body["error"]["message"] in error.message
    assert error.suggested_action
    if wait is None:
        assert not error.HasField("retry_after")
    else:
        assert error.retry_after.ToMilliseconds() == wait * 1000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0]["error"]["message"][:30])
@pytest.mark.parametrize("wrapped", [False, True], ids=["object", "array"])
def test_before_the_first_byte(row: Any, wrapped: bool) -> None:
    body = json.dumps([row[0]] if wrapped else row[0], indent=2).encode()
    check(GoogleCodec().decode_error(PROVIDER, row[0]["error"]["code"], {}, body, 0.0), row)


def failed(*chunks: bytes) -> ModelError:
    decoder = GoogleCodec().decoder(PROVIDER, EventWriter())
    with pytest.raises(ServiceError) as caught:
        for chunk in chunks:
            decoder.feed(chunk)
        decoder.end()
    return caught.value.error


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0]["error"]["message"][:30])
def test_in_the_body_of_a_200(row: Any) -> None:
    decoder = GoogleCodec().decoder(PROVIDER, EventWriter())
    with pytest.raises(ServiceError) as caught:
        decoder.decode(json.dumps(row[0]).encode())
    check(caught.value.error, row)


HELLO = b'data: {"candidates":[{"content":{"parts":[{"text":"Hel"}]}}]}\r\n\r\n'
FORMS = {
    "event": lambda body: b"data: " + json.dumps(body).encode() + b"\n\n",
    "pretty": lambda body: json.dumps(body, indent=2).encode(),
    "array": lambda body: json.dumps([body], indent=1).encode() + b"\n",
    "line": lambda body: json.dumps(body).encode() + b"\n\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0]["error"]["message"][:30])
def test_in_the_middle_of_a_stream(row: Any, form: str) -> None:
    check(failed(HELLO, FORMS[form](row[0])), row)


@pytest.mark.parametrize(
    ("message", "limit", "count"),
    [
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed "
            "(1048576).", 1048576, 1200000,
        ),
        (
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            1048576, 0,
        ),
        (
            "The input token count is 1,200,000 but model only supports up to 1048576.",
            1048576, 1200000,
        ),
    ],
)  # fmt: skip
def test_token_limits(message: str, limit: int, count: int) -> None:
    body = json.dumps(status(400, "INVALID_ARGUMENT", message)).encode()
    error = GoogleCodec().decode_error(PROVIDER, 400, {}, body, 0.0)
    assert error.reason == R.ERROR_REASON_TOKEN_LIMIT
    assert (error.token_limit, error.token_count) == (limit, count)
    assert not error.retryable


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"\xff", b'{"error":5}'])
def test_bodies_that_are_none_of_googles(body: bytes) -> None:
    error = GoogleCodec().decode_error(PROVIDER, 502, {"retry-after": "7"}, body, 0.0)
    assert error.reason == R.ERROR_REASON_SERVICE_UNAVAILABLE
    assert error.retry_after.ToMilliseconds() == 7000


def candidate(finish: str | None, *parts: dict[str, Any], **keys: Any) -> dict[str, Any]:
    one: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, **keys}
    return {"candidates": [one | ({"finishReason": finish} if finish else {})]}


BLOCKED = {
    "promptFeedback": {
        "blockReason": "SAFETY",
        "safetyRatings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"},
            {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True},
        ],
    },
    "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5},
}


@pytest.mark.parametrize(
    ("body", "reason", "retryable", "code"),
    [
        (BLOCKED, R.ERROR_REASON_REFUSAL, False, "SAFETY"),
        (candidate("SAFETY"), R.ERROR_REASON_REFUSAL, False, "SAFETY"),
        (candidate("IMAGE_SAFETY"), R.ERROR_REASON_REFUSAL, False, "IMAGE_SAFETY"),
        (candidate("RECITATION"), R.ERROR_REASON_REFUSAL, False, "RECITATION"),
        (candidate("STOP"), R.ERROR_REASON_EMPTY_COMPLETION, False, "STOP"),
        (candidate("STOP", {"text": ""}), R.ERROR_REASON_EMPTY_COMPLETION, False, "STOP"),
        (
            candidate("MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: f("),
            R.ERROR_REASON_EMPTY_COMPLETION, True, "MALFORMED_FUNCTION_CALL",
        ),
        (
            candidate("MISSING_THOUGHT_SIGNATURE"),
            R.ERROR_REASON_EMPTY_COMPLETION, False, "MISSING_THOUGHT_SIGNATURE",
        ),
        (candidate("NEW_REASON"), R.ERROR_REASON_EMPTY_COMPLETION, False, "NEW_REASON"),
    ],
)  # fmt: skip
def test_answers_without_content(
    body: dict[str, Any], reason: ErrorReason.ValueType, retryable: bool, code: str
) -> None:
    decoder = GoogleCodec().decoder(PROVIDER, EventWriter())
    with pytest.raises(ServiceError) as caught:
        decoder.decode(json.dumps(body).encode())
    for error in (caught.value.error, failed(FORMS["event"](body))):
        assert error.reason == reason
        assert error.retryable is retryable
        assert error.provider_code == code
        assert code in error.message
    if body is BLOCKED:
        assert "DANGEROUS_CONTENT" in error.message
        assert "HARASSMENT" not in error.message


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [HELLO],
        [HELLO, b"data: [DONE]\n\n"],
        [HELLO, b'data: {"candidates":[{"finishReason":"ST'],
        [HELLO, b"data: 5\n\n"],
        [HELLO, b'data: {"candidates":[{"content":{"parts":[5]}}]}\n\n'],
        [b'data: {"hello":"world"}\n\n'],
        [b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"args":{}}}]}}]}\n\n'],
    ],
)
def test_broken_streams(chunks: list[bytes]) -> None:
    assert failed(*chunks).reason == R.ERROR_REASON_MALFORMED_RESPONSE


MODEL = "google/gemini-2.5-flash"
FINE = candidate("STOP", {"text": "Hello."}) | {"responseId": "r", "modelVersion": "m"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_throttle_is_waited_out(caller: Caller, upstream: Upstream, stream: bool) -> None:
    throttle = status(429, "RESOURCE_EXHAUSTED", QUOTA, quota(MINUTE), retry("0.01s"))
    upstream.script(reply(429, throttle), sse(FINE) if stream else reply(200, FINE))
    answer = await caller.either(ask(MODEL), stream)
    assert [attempt.http_status for attempt in answer.attempts] == [429]
    assert answer.message.parts[0].text.text == "Hello."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    seen = upstream.seen[0]
    method = "streamGenerateContent" if stream else "generateContent"
    assert seen.path == f"/v1/models/gemini-2.5-flash:{method}"
    assert seen.headers["x-goog-api-key"] == "sk-operator-canary-0001"
    assert "Authorization" not in seen.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_spent_quota_is_not_asked_again(
    caller: Caller, upstream: Upstream, stream: bool
) -> None:
    upstream.script(reply(429, [status(429, "RESOURCE_EXHAUSTED", QUOTA, quota(DAY))]))
    error = await caller.failure(ask(MODEL), stream)
    assert error.reason == R.ERROR_REASON_INSUFFICIENT_CREDITS
    assert "console.cloud.google.com" in error.suggested_action
    assert len(upstream.seen) == 1


async def test_an_error_after_content_is_not_repeated(caller: Caller, upstream: Upstream) -> None:
    upstream.script(sse(HELLO, status(503, "UNAVAILABLE", "The model is overloaded.")))
    error = await caller.failure(ask(MODEL), stream=True)
    assert error.reason == R.ERROR_REASON_SERVICE_UNAVAILABLE
    assert error.http_status == 503
    assert len(upstream.seen) == 1


async def test_an_error_in_the_body_of_a_200_is_repeated(
    caller: Caller, upstream: Upstream
) -> None:
    broken = reply(200, status(503, "UNAVAILABLE", "The model is overloaded."))
    upstream.script(broken, reply(200, FINE))
    assert len((await caller.generate(ask(MODEL))).attempts) == 1


async def test_a_wrong_key_names_the_variable(caller: Caller, upstream: Upstream) -> None:
    wrong = status(400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID"))
    upstream.script(reply(400, wrong))
    error = await caller.failure(ask(MODEL))
    assert error.reason == R.ERROR_REASON_AUTHENTICATION_FAILED
    assert "GOOGLE_API_KEY" in error.suggested_action
    assert "canary" not in str(error)


async def test_models(caller: Caller, upstream: Upstream) -> None:
    listed = {
        "models": [
            {
                "name": "models/gemini-2.5-pro",
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
                "thinking": True,
            },
            {"name": "models/embedding-1", "supportedGenerationMethods": ["embedContent"]},
        ]
    }
    upstream.script(reply(200, listed))
    page = await caller.models.ListModels(ListModelsRequest(provider="google"))
    (model,) = page.models
    assert model.name == "google/gemini-2.5-pro"
    assert (model.context_length, model.max_output_tokens) == (1048576, 65536)
    assert model.capabilities.reasoning


def test_tokens_are_counted_of_what_would_be_sent() -> None:
    codec = GoogleCodec()
    request = ask("google/gemini-2.5-flash", "How many?", tools=[{"name": "clock"}])
    sent = json.loads(codec.encode(request, PROVIDER, False, EventWriter()).body)
    count = codec.encode_count(request, PROVIDER, EventWriter())
    assert count.path == "/models/gemini-2.5-flash:countTokens"
    wanted = {"generateContentRequest": {"model": "models/gemini-2.5-flash", **sent}}
    assert json.loads(count.body) == wanted
    assert codec.decode_count(PROVIDER, b'{"totalTokens": 31, "promptTokensDetails": []}') == 31
    with pytest.raises(ServiceError):
        codec.decode_count(PROVIDER, b"{}")
