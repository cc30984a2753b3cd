"""Errors of providers of the OpenAI kind -> ModelError."""

from __future__ import annotations

import re
from collections.abc import Mapping

from api_service.providers.codec import Upstream
from api_service.providers.error_body import ErrorBody
from api_service.providers.refused_field import refused_field
from api_service.providers.retry_delay import retry_delay
from marsys.rpc.reasons import meaning
from marsys.v1 import ErrorReason, ModelError

_R = ErrorReason
_LONGEST = 1000  # characters of a provider's text that are passed on

_BY_STATUS: Mapping[int, ErrorReason.ValueType] = {
    400: _R.ERROR_REASON_INVALID_REQUEST,
    401: _R.ERROR_REASON_AUTHENTICATION_FAILED,
    402: _R.ERROR_REASON_INSUFFICIENT_CREDITS,
    403: _R.ERROR_REASON_PERMISSION_DENIED,
    404: _R.ERROR_REASON_INVALID_MODEL,
    408: _R.ERROR_REASON_TIMEOUT,
    409: _R.ERROR_REASON_SERVICE_UNAVAILABLE,
    413: _R.ERROR_REASON_REQUEST_TOO_LARGE,
    422: _R.ERROR_REASON_INVALID_REQUEST,
    429: _R.ERROR_REASON_RATE_LIMIT,
}

# What may be wrong with an image of the request (OpenAI Responses).
_IMAGE_FAULTS = (
    "invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url",
    "image_too_large", "image_too_small", "image_parse_error", "invalid_image_mode",
    "image_file_too_large", "unsupported_image_media_type", "empty_image_file",
    "failed_to_download_image", "image_file_not_found",
)  # fmt: skip

# The status that a code or type in the body of a 200 or of a stream stands for.
_STATUS_OF_CODE: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "api_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "service_unavailable": 503,
    "overloaded_error": 529,
    "timeout_error": 408,
    "conflict_error": 409,
    "billing_error": 402,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "data_residency_mismatch": 400,
    "vector_store_timeout": 504,
    "usage_limit_reached": 429,
    "model_not_found": 404,
    "not_found_error": 404,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    **dict.fromkeys(_IMAGE_FAULTS, 400),
}

# What a code says beyond its status.
_BY_CODE: Mapping[str, ErrorReason.ValueType] = {
    "insufficient_quota": _R.ERROR_REASON_INSUFFICIENT_CREDITS,
    "billing_hard_limit_reached": _R.ERROR_REASON_INSUFFICIENT_CREDITS,
    "context_length_exceeded": _R.ERROR_REASON_TOKEN_LIMIT,
    "bio_policy": _R.ERROR_REASON_REFUSAL,
    "misalignment_policy_violation": _R.ERROR_REASON_REFUSAL,
    "image_content_policy_violation": _R.ERROR_REASON_REFUSAL,
    "usage_not_included": _R.ERROR_REASON_PERMISSION_DENIED,
    "usage_limit_reached": _R.ERROR_REASON_RATE_LIMIT,
    "model_not_found": _R.ERROR_REASON_INVALID_MODEL,
    "invalid_api_key": _R.ERROR_REASON_AUTHENTICATION_FAILED,
    "unsupported_parameter": _R.ERROR_REASON_UNSUPPORTED_PARAMETER,
    "unsupported_value": _R.ERROR_REASON_UNSUPPORTED_PARAMETER,
    "request_too_large": _R.ERROR_REASON_REQUEST_TOO_LARGE,
    "billing_error": _R.ERROR_REASON_INSUFFICIENT_CREDITS,
    "not_found_error": _R.ERROR_REASON_INVALID_MODEL,
    "authentication_error": _R.ERROR_REASON_AUTHENTICATION_FAILED,
    "permission_error": _R.ERROR_REASON_PERMISSION_DENIED,
    "failed_precondition": _R.ERROR_REASON_PERMISSION_DENIED,  # Google: region or billing
}

_TOO_LARGE = re.compile(
    r"request_too_large|payload too large|request exceeds the maximum|request body is too large",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low|spend(?:ing)? limit", re.IGNORECASE)
_WRONG_KEY = re.compile(r"incorrect api key|invalid api key|api key not valid", re.IGNORECASE)
_ENDED_LOGIN = re.compile(r"oauth token (?:has been revoked|has expired|is invalid)", re.IGNORECASE)
# (limit, count) of the phrases in which context overflow is told; "n" groups are digits.
_TOKEN_LIMITS = (
    re.compile(
        r"maximum context length (?:is|of) (?P<limit>[\d,]+)(?: tokens)?"
        r"(?:(?!maximum context).){0,200}?(?<![\d,])(?P<count>\d[\d,]*) (?:input )?tokens",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(r"maximum context length (?:is|of) (?P<limit>[\d,]+)", re.IGNORECASE),
    re.compile(
        r"maximum prompt length is (?P<limit>[\d,]+)"
        r"(?: but the request contains (?P<count>[\d,]+))?",
        re.IGNORECASE,
    ),
    re.compile(r"prompt is too long: (?P<count>[\d,]+) tokens > (?P<limit>[\d,]+)", re.IGNORECASE),
    re.compile(
        r"input token count \(?(?P<count>[\d,]+)\)? exceeds the maximum number of tokens allowed"
        r" \(?(?P<limit>[\d,]+)",
        re.IGNORECASE,
    ),
    re.compile(
        r"input token count (?:is (?P<count>[\d,]+) but model only supports up to"
        r"|exceeds the maximum number of tokens allowed) \(?(?P<limit>[\d,]+)",
        re.IGNORECASE,
    ),
    re.compile(
        r"exceed context limit: (?P<count>[\d,]+ \+ [\d,]+) > (?P<limit>[\d,]+)", re.IGNORECASE
    ),
    re.compile(r"exceed(?:s|ed)? (?:the )?(?:model'?s )?(?:maximum )?context", re.IGNORECASE),
    re.compile(r"context length (?:was )?exceeded|too many tokens", re.IGNORECASE),
)

# Where these statuses and reasons come together, the words may name a parameter to leave out.
_MALFORMED = (400, 422)
_PERHAPS_REFUSED = (_R.ERROR_REASON_INVALID_REQUEST, _R.ERROR_REASON_UNSUPPORTED_PARAMETER)

_FIELDS: Mapping[str, str] = {
    "model": "model",
    "messages": "messages",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "tool_choice.allow_parallel_calls",
    "response_format": "output_format",
    "reasoning_effort": "config.reasoning.effort",
    "reasoning": "config.reasoning",
    "max_tokens": "config.max_tokens",
    "max_completion_tokens": "config.max_tokens",
    "max_output_tokens": "config.max_tokens",
    "input": "messages",
    "text": "output_format",
}


def status_error(
    upstream: Upstream, status: int, headers: Mapping[str, str], body: ErrorBody, now: float
) -> ModelError:
    """The error that an HTTP error response means."""
    reason = _reason(upstream, status, headers, body)
    error = _error(upstream, reason, status, body)
    error.provider_request_id = (
        headers.get("x-request-id")
        or headers.get("x-generation-id")
        or headers.get("request-id")
        or ""
    )[:256]
    if error.retryable and headers.get("x-should-retry") == "false":
        error.retryable = False
    elif headers.get("x-should-retry") == "true":
        error.retryable = True
    _advise_wait(error, retry_delay(headers, body.raw, body.message, now))
    return error


def body_error(upstream: Upstream, body: ErrorBody) -> ModelError:
    """The error that stands in the body of a 200, or in the middle of a stream."""
    status = body.status
    for code in (body.code.lower(), body.kind.lower()):
        status = status or _STATUS_OF_CODE.get(code)
    reason = _R.ERROR_REASON_UNKNOWN if status is None else _reason(upstream, status, {}, body)
    if reason == _R.ERROR_REASON_UNKNOWN:
        reason = _refined(body) or reason
    error = _error(upstream, reason, status, body)
    # Nobody knows the time here: moments are told only in headers.
    _advise_wait(error, retry_delay({}, {}, body.message, 0.0))
    return error


def _reason(
    upstream: Upstream, status: int, headers: Mapping[str, str], body: ErrorBody
) -> ErrorReason.ValueType:
    if status < 500 and _refuses_login(upstream, body):
        return _R.ERROR_REASON_CREDENTIAL_NOT_PERMITTED
    refined = _refined(body)
    if refined is not None and status < 500:
        return refined
    if 300 <= status < 400:
        return _R.ERROR_REASON_MALFORMED_RESPONSE
    if status == 402 and "retry-after" in headers:
        limit = body.raw.get("metadata")
        if isinstance(limit, dict) and limit.get("limit_source"):
            return _R.ERROR_REASON_RATE_LIMIT  # a budget of calls in flight
    if status == 504:
        return _R.ERROR_REASON_SERVICE_UNAVAILABLE
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return _R.ERROR_REASON_SERVICE_UNAVAILABLE if status >= 500 else _R.ERROR_REASON_UNKNOWN


def _refuses_login(upstream: Upstream, body: ErrorBody) -> bool:
    """Whether the provider doesn't permit the kind of login that the call shows."""
    pattern = upstream.row.login_refused
    return bool(pattern) and re.search(pattern, body.message, re.IGNORECASE) is not None


def _refined(body: ErrorBody) -> ErrorReason.ValueType | None:
    """What the words of the body say beyond the status."""
    if _ENDED_LOGIN.search(body.message):
        return _R.ERROR_REASON_AUTHENTICATION_FAILED
    for code in (body.code, body.kind):
        if code.lower() in _BY_CODE:
            return _BY_CODE[code.lower()]
    if _TOO_LARGE.search(body.message):
        return _R.ERROR_REASON_REQUEST_TOO_LARGE
    if _NO_CREDIT.search(body.message):
        return _R.ERROR_REASON_INSUFFICIENT_CREDITS
    if _WRONG_KEY.search(body.message):
        return _R.ERROR_REASON_AUTHENTICATION_FAILED
    if any(pattern.search(body.message) for pattern in _TOKEN_LIMITS):
        return _R.ERROR_REASON_TOKEN_LIMIT
    return None


def _error(
    upstream: Upstream, reason: ErrorReason.ValueType, status: int | None, body: ErrorBody
) -> ModelError:
    row = upstream.row
    field = _field(upstream, body)
    if status in _MALFORMED and reason in _PERHAPS_REFUSED:
        refused = refused_field(row, body.message)
        if refused:
            field, reason = field or refused, _R.ERROR_REASON_UNSUPPORTED_PARAMETER
    text = _told(upstream, body.message) or "no further words"
    told = f"{row.name} answered {status}: {text}" if status else f"{row.name}: {text}"
    if status is not None and 300 <= status < 400:
        told = f"{row.name} answered {status}: redirects are not followed"
    error = ModelError(
        reason=reason,
        message=told,
        field=field,
        provider=row.name,
        model=upstream.model,
        provider_code=_told(upstream, body.code),
        retryable=_retryable(upstream, reason, status),
        suggested_action=_action(upstream, reason),
    )
    if status is not None:
        error.http_status = status
    if reason == _R.ERROR_REASON_TOKEN_LIMIT:
        _fill_limit(error, body.message)
    return error


def _told(upstream: Upstream, text: str) -> str:
    """A provider's text as callers see it: first without secrets, then cut."""
    text = upstream.redact(text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " [...]"


def _retryable(upstream: Upstream, reason: ErrorReason.ValueType, status: int | None) -> bool:
    if status is None or 300 <= status < 400:
        return False
    return status in upstream.row.retried and meaning(reason).retryable


def _advise_wait(error: ModelError, delay: float | None) -> None:
    if delay is not None and error.retryable:
        error.retry_after.FromMilliseconds(round(delay * 1000))


def _action(upstream: Upstream, reason: ErrorReason.ValueType) -> str:
    row = upstream.row
    if row.login and reason == _R.ERROR_REASON_CREDENTIAL_NOT_PERMITTED:
        return f"Use an API key: provider {row.name.removesuffix('-oauth')!r}."
    if row.login and reason == _R.ERROR_REASON_AUTHENTICATION_FAILED:
        return f"Run `{row.login}` on the machine that holds the login."
    if reason == _R.ERROR_REASON_AUTHENTICATION_FAILED and row.key_env:
        return f"Check the API key: {row.key_env} of the service, or target.api_key of the call."
    if reason == _R.ERROR_REASON_INSUFFICIENT_CREDITS and row.billing_url:
        return f"Add credits or raise the quota: {row.billing_url}"
    return meaning(reason).action


def _field(upstream: Upstream, body: ErrorBody) -> str:
    name = re.split(r"[.\[]", body.param, maxsplit=1)[0]
    if not name:
        return ""
    for field, wire in upstream.row.fields.items():
        if wire == name:
            return f"config.{field}"
    return _FIELDS.get(name, "")


def _fill_limit(error: ModelError, message: str) -> None:
    for pattern in _TOKEN_LIMITS:
        match = pattern.search(message)
        if match is None:
            continue
        groups = match.groupdict()
        for group, field in (("limit", "token_limit"), ("count", "token_count")):
            digits = (groups.get(group) or "").replace(",", "").split(" + ")
            if all(0 < len(number) < 19 for number in digits):
                setattr(error, field, sum(map(int, digits)))
        return
