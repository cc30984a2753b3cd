"""What each ErrorReason means: gRPC status, classification, whether to retry, what to do."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from marsys.v1 import ErrorReason

DOMAIN = "marsys.v1"
_PREFIX = "ERROR_REASON_"


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of an ErrorReason.

    Attributes:
        code: gRPC status code of an RPC that fails for this reason.
        classification: the word of the Python API (`ModelAPIError.classification`).
        retryable: whether the same call may succeed later, where nothing else is known.
        action: what the caller can do, in words; empty where there is nothing general to say.
    """

    code: grpc.StatusCode
    classification: str
    retryable: bool = False
    action: str = ""


_C = grpc.StatusCode
_MEANINGS: dict[str, Meaning] = {
    "INVALID_REQUEST": Meaning(
        _C.INVALID_ARGUMENT, "invalid_request", action="Correct the field that the error names."
    ),
    "UNSUPPORTED_PARAMETER": Meaning(
        _C.INVALID_ARGUMENT,
        "invalid_request",
        action="Leave the parameter out, or set on_unsupported to WARN.",
    ),
    "TOKEN_LIMIT": Meaning(
        _C.INVALID_ARGUMENT, "token_limit", action="Shorten the conversation or lower max_tokens."
    ),
    "REQUEST_TOO_LARGE": Meaning(
        _C.INVALID_ARGUMENT, "request_too_large", action="Send less content in one request."
    ),
    "INVALID_MODEL": Meaning(
        _C.NOT_FOUND,
        "invalid_model",
        action="Check the model's name; ListModels names those there are.",
    ),
    "MODEL_NOT_LOADED": Meaning(
        _C.FAILED_PRECONDITION, "invalid_model", action="Load the model first (LoadModel)."
    ),
    "MODEL_LOADING": Meaning(
        _C.UNAVAILABLE, "service_unavailable", True, "The model is being loaded. Try again shortly."
    ),
    "MODEL_LOAD_FAILED": Meaning(
        _C.FAILED_PRECONDITION,
        "invalid_model",
        action="Mend what the error names, then load the model again.",
    ),
    "UNAUTHENTICATED": Meaning(
        _C.UNAUTHENTICATED,
        "authentication_failed",
        action="Give the service's token (MARSYS_TOKEN) with the call.",
    ),
    "AUTHENTICATION_FAILED": Meaning(
        _C.FAILED_PRECONDITION, "authentication_failed", action="Check the provider's API key."
    ),
    "NOT_ALLOWED": Meaning(
        _C.PERMISSION_DENIED,
        "permission_denied",
        action="Ask the operator of the service to allow it.",
    ),
    "PERMISSION_DENIED": Meaning(
        _C.PERMISSION_DENIED,
        "permission_denied",
        action="Check what the provider permits to this account.",
    ),
    "CREDENTIAL_NOT_PERMITTED": Meaning(
        _C.PERMISSION_DENIED, "permission_denied", action="Use an API key instead of this login."
    ),
    "INSUFFICIENT_CREDITS": Meaning(
        _C.RESOURCE_EXHAUSTED,
        "insufficient_credits",
        action="Add credits or raise the quota at the provider.",
    ),
    "RATE_LIMIT": Meaning(
        _C.RESOURCE_EXHAUSTED,
        "rate_limit",
        True,
        "Wait before the next request, or raise the rate limit.",
    ),
    "OVERLOADED": Meaning(
        _C.RESOURCE_EXHAUSTED,
        "service_unavailable",
        True,
        "The service's queue is full. Try again shortly.",
    ),
    "OUT_OF_MEMORY": Meaning(
        _C.RESOURCE_EXHAUSTED,
        "service_unavailable",
        action="Use a shorter prompt or a smaller model.",
    ),
    "SERVICE_UNAVAILABLE": Meaning(
        _C.UNAVAILABLE,
        "service_unavailable",
        True,
        "Service temporarily unavailable. Please try again later.",
    ),
    "NETWORK_ERROR": Meaning(
        _C.UNAVAILABLE, "network_error", True, "Check the network and the address, then try again."
    ),
    "TIMEOUT": Meaning(_C.UNAVAILABLE, "timeout", True, "Try again, or allow more time."),
    "SHUTTING_DOWN": Meaning(
        _C.UNAVAILABLE, "service_unavailable", True, "Call again; another instance may answer."
    ),
    "REFUSAL": Meaning(_C.FAILED_PRECONDITION, "refusal", action="Rephrase the request."),
    "EMPTY_COMPLETION": Meaning(
        _C.UNAVAILABLE, "empty_completion", action="Rephrase the request or use another model."
    ),
    "MALFORMED_RESPONSE": Meaning(
        _C.UNAVAILABLE, "service_unavailable", True, "Try again; if it stays, check the endpoint."
    ),
    "UNIMPLEMENTED": Meaning(
        _C.UNIMPLEMENTED, "invalid_request", action="Call a service that serves this RPC."
    ),
    "INTERNAL": Meaning(
        _C.INTERNAL, "unknown", action="Report it with the request id; the service's log says more."
    ),
    "UNKNOWN": Meaning(_C.UNKNOWN, "unknown", action="See the provider's message."),
    "CONFLICT": Meaning(
        _C.FAILED_PRECONDITION,
        "invalid_request",
        action="Bring the service into the state that the call needs.",
    ),
    "NOT_FOUND": Meaning(
        _C.NOT_FOUND, "invalid_request", action="Check the name that the error tells of."
    ),
}


def reason_name(reason: ErrorReason.ValueType) -> str:
    """Name of a reason without its prefix, as in google.rpc.ErrorInfo.reason."""
    return ErrorReason.Name(reason).removeprefix(_PREFIX)


def meaning(reason: ErrorReason.ValueType) -> Meaning:
    """Meaning of a reason; that of UNKNOWN for one that this version does not know."""
    name = reason_name(reason) if reason in ErrorReason.values() else "UNKNOWN"
    return _MEANINGS.get(name, _MEANINGS["UNKNOWN"])
