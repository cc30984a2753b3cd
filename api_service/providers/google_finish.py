"""Google generateContent: why an answer ended, and the errors of answers without content."""

from __future__ import annotations

from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject, list_of, object_of, text_of
from marsys.v1 import ErrorReason, FinishReason
from serving.errors import ServiceError, service_error

_F = FinishReason
_FILTERED = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "ESCALATION",
    "PUP_LIMITED_DISABLED", "MODEL_ARMOR",
)  # fmt: skip
_UNUSABLE = (
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "OTHER",
)  # fmt: skip
_FINISH = {
    "": _F.FINISH_REASON_STOP,
    "FINISH_REASON_UNSPECIFIED": _F.FINISH_REASON_STOP,
    "STOP": _F.FINISH_REASON_STOP,
    "MAX_TOKENS": _F.FINISH_REASON_LENGTH,
    "CONTINUATION": _F.FINISH_REASON_LENGTH,
    "FUNCTION_CALL": _F.FINISH_REASON_TOOL_CALLS,  # of servers that act as Google
    **dict.fromkeys(_FILTERED, _F.FINISH_REASON_CONTENT_FILTER),
    **dict.fromkeys(_UNUSABLE, _F.FINISH_REASON_ERROR),
}
# The model slipped: asked again, it mostly answers.
_PASSING = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "OTHER")

MAY_BE_EMPTY = (_F.FINISH_REASON_LENGTH,)
"""Finish reasons with which an answer may have no content."""


def finish_reason(raw: str) -> FinishReason.ValueType:
    """The contract's word for Google's."""
    return _FINISH.get(raw, _F.FINISH_REASON_OTHER)


def refusal(upstream: Upstream, feedback: JsonObject) -> ServiceError:
    """The error of a prompt that was blocked."""
    reason = text_of(feedback.get("blockReason")) or "unspecified"
    message = text_of(feedback.get("blockReasonMessage"))
    blocked = [
        text_of(object_of(rating).get("category")).removeprefix("HARM_CATEGORY_")
        for rating in list_of(feedback.get("safetyRatings"))
        if object_of(rating).get("blocked")
    ]
    told = f"blocked the prompt: {reason}"
    if any(blocked):
        told += f" ({', '.join(filter(None, blocked))})"
    return _error(upstream, ErrorReason.ERROR_REASON_REFUSAL, reason, told, message)


def no_content(upstream: Upstream, raw: str, message: str) -> ServiceError:
    """The error of an answer that ended with no content.

    Args:
        upstream: whom was asked.
        raw: Google's finish reason; may be empty.
        message: what Google said about it; may be empty.
    """
    if _FINISH.get(raw) == _F.FINISH_REASON_CONTENT_FILTER:
        told = f"withheld the answer: {raw}"
        return _error(upstream, ErrorReason.ERROR_REASON_REFUSAL, raw, told, message)
    told = f"ended with no usable content: {raw or 'no reason given'}"
    error = _error(upstream, ErrorReason.ERROR_REASON_EMPTY_COMPLETION, raw, told, message)
    error.error.retryable = raw in _PASSING
    return error


def _error(
    upstream: Upstream, reason: ErrorReason.ValueType, code: str, told: str, message: str
) -> ServiceError:
    name = upstream.row.name
    text = f"{name} {told}"
    if message:
        text += f": {message}"
    text = upstream.redact(text)[:1000]
    error = service_error(reason, text, provider=name, model=upstream.model)
    error.error.provider_code = code[:200]
    return error
