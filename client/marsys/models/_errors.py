"""The contract's errors -> the exceptions of the Python API: the one place."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from marsys.agents.exceptions import (
    ConversationLostError,
    ModelAPIError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelTokenLimitError,
)
from marsys.models._facts import attempt_facts
from marsys.rpc.reasons import meaning, reason_name
from marsys.rpc.status import code_of, from_rpc_error
from marsys.rpc.target import Target
from marsys.v1 import ErrorReason, ModelError

_CLASSES: dict[str, type[ModelAPIError]] = {
    "rate_limit": ModelRateLimitError,
    "timeout": ModelTimeoutError,
    "token_limit": ModelTokenLimitError,
}


def to_exception(
    error: ModelError, *, grpc_code: str | None = None, request_id: str | None = None
) -> ModelAPIError:
    """The exception for an error of the contract.

    Args:
        error: what the service said.
        grpc_code: name of the call's status code; None: the one that the reason implies.
        request_id: id of the call in the service's log.
    """
    classification = meaning(error.reason).classification
    cls = _CLASSES.get(classification, ModelAPIError)
    facts: dict[str, Any] = {
        "classification": classification,
        "is_retryable": error.retryable,
        "suggested_action": error.suggested_action,
        "grpc_code": grpc_code or code_of(error).name,
        "reason": _reason_word(error.reason),
        "field": error.field,
        "provider": error.provider,
        "model": error.model,
        "api_error_code": error.provider_code or None,
        "request_id": request_id or error.provider_request_id or None,
        "context": {"attempts": [attempt_facts(attempt) for attempt in error.attempts]},
    }
    if error.provider_request_id:
        facts["context"]["provider_request_id"] = error.provider_request_id
    if error.HasField("max_retries"):
        facts["context"]["max_retries"] = error.max_retries
    if error.HasField("http_status"):
        facts["status_code"] = error.http_status
    if error.HasField("retry_after"):
        facts["retry_after"] = error.retry_after.ToNanoseconds() / 1e9
    if cls is ModelTokenLimitError:
        facts["limit"] = error.token_limit if error.HasField("token_limit") else None
        facts["token_count"] = error.token_count if error.HasField("token_count") else None
    return cls(error.message, **facts)


def from_call(error: grpc.RpcError, target: Target, timeout: float | None = None) -> ModelAPIError:
    """The exception for a failed call.

    Args:
        error: what gRPC raised.
        target: where the call went.
        timeout: how long the caller wanted to wait, in seconds; None: without end.
    """
    code: grpc.StatusCode = error.code()
    model_error = from_rpc_error(error)
    # A streamed request is wrapped; to the caller it's the same request.
    model_error.field = model_error.field.removeprefix("request.")
    model_error.message = model_error.message.removeprefix("request.")
    request_id = None
    own = False  # whether the service itself gave the error
    for detail in _details(error):
        info = error_details_pb2.RequestInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            request_id = info.request_id
        own = own or detail.Is(ModelError.DESCRIPTOR)
    if not own and code is grpc.StatusCode.UNAVAILABLE:
        cause = (error.details() or "").rpartition(": ")[2]  # the rest names gRPC's own steps
        if target.log:
            model_error.message = f"the service that was started for this program ended ({cause})"
            model_error.suggested_action = f"See its log, {target.log}; a new call starts it again."
        else:
            model_error.message = f"no service answers at {target} ({cause})"
            model_error.suggested_action = (
                "Start the service (`marsys serve api` or `marsys serve local`), or set the target."
            )
    elif not own and code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout is not None:
        model_error.message = _too_late(timeout)
    return to_exception(model_error, grpc_code=code.name, request_id=request_id)


def invalid(field: str, message: str, *, classification: str = "invalid_request") -> ModelAPIError:
    """The request can't be built: nothing was sent. The message begins with the field."""
    known = meaning(
        ErrorReason.ERROR_REASON_REQUEST_TOO_LARGE
        if classification == "request_too_large"
        else ErrorReason.ERROR_REASON_INVALID_REQUEST
    )
    return ModelAPIError(
        f"{field}: {message}",
        classification=classification,
        reason=classification.upper(),
        suggested_action=known.action,
        field=field,
    )


def timed_out(timeout: float) -> ModelAPIError:
    """The time that the caller gave, in seconds, was over before a call could be made."""
    error = ModelError(reason=ErrorReason.ERROR_REASON_TIMEOUT, message=_too_late(timeout))
    known = meaning(error.reason)
    error.retryable, error.suggested_action = known.retryable, known.action
    return to_exception(error, grpc_code=grpc.StatusCode.DEADLINE_EXCEEDED.name)


def truncated(why: str, length: int) -> ModelAPIError:
    """A stream ended before its end.

    Args:
        why: what was missing.
        length: characters of text that had come.
    """
    return ModelAPIError(
        f"the stream was truncated: {why}",
        classification="service_unavailable",
        is_retryable=True,
        suggested_action=meaning(ErrorReason.ERROR_REASON_MALFORMED_RESPONSE).action,
        reason="MALFORMED_RESPONSE",
        context={"partial_length": length},
    )


def conversation_lost(error: ModelAPIError, messages: list[Any]) -> ConversationLostError:
    """The error of a conversation whose call is gone, with what is needed to go on."""
    return ConversationLostError(
        f"the conversation is lost: {error.message}",
        messages=messages,
        classification=error.classification,
        is_retryable=True,
        suggested_action="Send again: the conversation is opened anew, with its messages.",
        grpc_code=error.grpc_code,
        reason=error.reason,
        provider=error.provider,
        model=error.model,
        request_id=error.request_id,
        context=error.context,
    )


def reason_of(error: grpc.RpcError | ModelError) -> ErrorReason.ValueType:
    """Why a call, or a turn of a conversation, failed."""
    return error.reason if isinstance(error, ModelError) else from_rpc_error(error).reason


def _too_late(timeout: float) -> str:
    return f"no whole answer within {timeout:g} s"


def _reason_word(reason: ErrorReason.ValueType) -> str:
    return reason_name(reason) if reason in ErrorReason.values() else "UNKNOWN"


def _details(error: grpc.RpcError) -> list[Any]:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the details contradict the status
        return []
    return list(status.details) if status else []
