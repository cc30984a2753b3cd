"""Google's errors (google.rpc.Status) -> ModelError."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from api_service.providers.codec import Upstream
from api_service.providers.error_body import ErrorBody, parse_error
from api_service.providers.error_table import body_error, status_error
from api_service.providers.json_text import JsonObject, list_of, object_of, text_of
from api_service.providers.retry_delay import retry_delay
from marsys.v1 import ErrorReason, ModelError

_R = ErrorReason
_STATUS_OF_WORD: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# What Google's words say beyond its statuses: the code that error_table knows for it.
_KINDS: Mapping[str, str] = {
    "API_KEY_INVALID": "invalid_api_key",
    "FAILED_PRECONDITION": "failed_precondition",  # region or billing
}
_DAILY = re.compile(r"per_?day", re.IGNORECASE)
# Complaints about a parameter, and the parameter; empty: not told which.
_UNSUPPORTED = (
    (re.compile(r"thinking[ _]?level", re.IGNORECASE), "config.reasoning.effort"),
    (
        re.compile(r"thinking[ _]?budget|budget \d+ is invalid", re.IGNORECASE),
        "config.reasoning.budget_tokens",
    ),
    (
        re.compile(
            r"thinking is not (supported|enabled)|not support thinking|thinking[ _]?config",
            re.IGNORECASE,
        ),
        "config.reasoning",
    ),
    (re.compile(r"penalty is not (supported|enabled)", re.IGNORECASE), ""),
    (re.compile(r"json mode is not (supported|enabled)", re.IGNORECASE), "output_format"),
)
_SIGNATURE = re.compile(r"thought[ _]?signature", re.IGNORECASE)
_SIGNATURE_ACTION = (
    "Give the model's parts back with their opaque_state unchanged, or leave opaque_state out "
    "where another model or key made it."
)
_FIELDS: Mapping[str, str] = {
    "contents": "messages",
    "systemInstruction": "messages",
    "tools": "tools",
    "toolConfig": "tool_choice",
    "model": "model",
    "responseSchema": "output_format",
    "responseJsonSchema": "output_format",
    "responseMimeType": "output_format",
    "thinkingConfig": "config.reasoning",
}
_STEP = re.compile(r"[A-Za-z_]+")
_SNAKE = re.compile(r"_([a-z])")


def google_status_error(
    upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: float
) -> ModelError:
    """The error that an HTTP error response means."""
    said = _understood(parse_error(body))
    return _completed(status_error(upstream, status, headers, said, now), upstream, said)


def google_body_error(upstream: Upstream, body: ErrorBody) -> ModelError:
    """The error that stands in the body of a 200, or in the middle of a stream."""
    said = _understood(body)
    error = body_error(upstream, said)
    delay = retry_delay({}, {"details": said.raw.get("details")}, said.message, 0.0)
    if delay is not None and error.retryable:
        error.retry_after.FromMilliseconds(round(delay * 1000))
    return _completed(error, upstream, said)


def _understood(body: ErrorBody) -> ErrorBody:
    """The error with Google's own words for its code and kind."""
    word = text_of(body.raw.get("status"))
    reasons = [text_of(detail.get("reason")) for detail in _details(body.raw)]
    kinds = [_KINDS[name] for name in (*reasons, word) if name in _KINDS]
    if any(_DAILY.search(quota) for quota in _quotas(body.raw)):
        kinds.insert(0, "insufficient_quota")
    kind = kinds[0] if kinds else next(filter(None, reasons), "")
    return replace(
        body, code=word or body.code, kind=kind, status=body.status or _STATUS_OF_WORD.get(word)
    )


def _completed(error: ModelError, upstream: Upstream, body: ErrorBody) -> ModelError:
    """The error with the field at fault, and what to do about it."""
    if error.reason != _R.ERROR_REASON_INVALID_REQUEST:
        return error
    if _SIGNATURE.search(body.message):
        error.field = "messages"
        error.suggested_action = _SIGNATURE_ACTION
        return error
    for pattern, field in _UNSUPPORTED:
        if pattern.search(body.message):
            error.reason = _R.ERROR_REASON_UNSUPPORTED_PARAMETER
            error.field = field
            return error
    for detail in _details(body.raw):
        for violation in map(object_of, list_of(detail.get("fieldViolations"))):
            error.field = error.field or _field(upstream, text_of(violation.get("field")))
    return error


def _field(upstream: Upstream, path: str) -> str:
    """The contract's field for one such as generation_config.top_k; empty: none."""
    ours = {wire: f"config.{name}" for name, wire in upstream.row.fields.items()}
    for step in _STEP.findall(path):
        name = _SNAKE.sub(lambda match: match[1].upper(), step)
        field = ours.get(name) or _FIELDS.get(name)
        if field:
            return field
    return ""


def _details(error: JsonObject) -> list[JsonObject]:
    return [object_of(detail) for detail in list_of(error.get("details"))]


def _quotas(error: JsonObject) -> Iterator[str]:
    for detail in _details(error):
        for violation in map(object_of, list_of(detail.get("violations"))):
            yield text_of(violation.get("quotaId"))
