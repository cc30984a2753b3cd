"""The exceptions of the Python API. Import-light: nothing but the standard library.

AgentFrameworkError
└── ModelError
    ├── ModelAPIError                 a call failed; `classification` says why
    │   ├── ModelRateLimitError
    │   ├── ModelTimeoutError
    │   ├── ModelTokenLimitError
    │   └── ConversationLostError     the call of a conversation is gone; `messages` go on
    ├── ModelResponseError            an answer does not have the form that was asked for
    └── ModelConfigurationError       a model is set up wrongly; nothing was sent
"""

from __future__ import annotations

import time
from typing import Any

# Failures that repeat until somebody changes an account or a setting.
_CRITICAL = frozenset(
    {"insufficient_credits", "authentication_failed", "permission_denied", "invalid_model"}
)


class AgentFrameworkError(Exception):
    """Base of all errors.

    Attributes:
        message: the error in words, without secrets.
        error_code: a stable word in upper case.
        context: further facts; never None.
        suggestion: what the caller can do, in words; empty where nothing general can be said.
        timestamp: when it was raised, in seconds since the epoch.
    """

    default_code = "AGENT_FRAMEWORK_ERROR"

    def __init__(
        self,
        message: str,
        *,
        error_code: str | None = None,
        context: dict[str, Any] | None = None,
        suggestion: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code or self.default_code
        self.context = dict(context or {})
        self.suggestion = suggestion
        self.timestamp = time.time()

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as plain values that json.dumps takes."""
        return {
            "error_type": type(self).__name__,
            "error_code": self.error_code,
            "message": self.message,
            "suggestion": self.suggestion,
            "context": self.context,
            "timestamp": self.timestamp,
        }


class ModelError(AgentFrameworkError):
    """Something is wrong with a model or a call of it."""

    default_code = "MODEL_ERROR"


class ModelConfigurationError(ModelError):
    """A model, a target or a credential is set up wrongly; nothing was sent.

    Attributes:
        field: name of the setting at fault; empty where none is.
    """

    default_code = "MODEL_CONFIGURATION_ERROR"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        error_code: str | None = None,
        context: dict[str, Any] | None = None,
        suggestion: str = "",
    ) -> None:
        super().__init__(message, error_code=error_code, context=context, suggestion=suggestion)
        self.field = field

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"field": self.field}


class ModelResponseError(ModelError):
    """An answer does not have the form that was asked for.

    Attributes:
        response_content: the answer's text; None where there was none.
    """

    default_code = "MODEL_RESPONSE_ERROR"

    def __init__(
        self,
        message: str,
        *,
        response_content: str | None = None,
        error_code: str | None = None,
        context: dict[str, Any] | None = None,
        suggestion: str = "",
    ) -> None:
        super().__init__(message, error_code=error_code, context=context, suggestion=suggestion)
        self.response_content = response_content


class ModelAPIError(ModelError):
    """A call of a model failed.

    Attributes:
        classification: why, in one word: "invalid_request", "rate_limit", "service_unavailable",
            "insufficient_credits", "authentication_failed", "permission_denied", "invalid_model",
            "token_limit", "request_too_large", "timeout", "network_error", "refusal",
            "empty_completion" or "unknown".
        error_code: "MODEL_API_<CLASSIFICATION>_ERROR".
        is_retryable: whether the same call may succeed later.
        retry_after: how long to wait before that, in seconds (int where whole); None: unknown.
        suggested_action: what the caller can do, in words; may be empty.
        status_code: the provider's HTTP status; None where no response came.
        grpc_code: name of the call's gRPC status code, such as "UNAVAILABLE"; None where the call
            was not sent.
        reason: the contract's ErrorReason without its prefix, such as "RATE_LIMIT"; may be empty.
        field: path of the request's field at fault, such as "config.temperature"; may be empty.
        provider, model: who was asked; may be empty.
        api_error_code: the provider's own error code or type; None where it gave none.
        request_id: id of the call in the service's log, else the provider's; None: unknown.
        context: among others "attempts" (list of dicts) and, where known, "max_retries".
    """

    def __init__(
        self,
        message: str,
        *,
        classification: str = "unknown",
        is_retryable: bool = False,
        retry_after: float | None = None,
        suggested_action: str = "",
        status_code: int | None = None,
        grpc_code: str | None = None,
        reason: str = "",
        field: str = "",
        provider: str = "",
        model: str = "",
        api_error_code: str | None = None,
        request_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            message,
            error_code=f"MODEL_API_{classification.upper()}_ERROR",
            context=context,
            suggestion=suggested_action,
        )
        self.classification = classification
        self.is_retryable = is_retryable
        self.retry_after = _whole(retry_after)
        self.suggested_action = suggested_action
        self.status_code = status_code
        self.grpc_code = grpc_code
        self.reason = reason
        self.field = field
        self.provider = provider
        self.model = model
        self.api_error_code = api_error_code
        self.request_id = request_id

    def is_critical(self) -> bool:
        """Whether every call will fail until an account or a setting is changed."""
        return self.classification in _CRITICAL

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {
            "classification": self.classification,
            "is_retryable": self.is_retryable,
            "retry_after": self.retry_after,
            "suggested_action": self.suggested_action,
            "status_code": self.status_code,
            "grpc_code": self.grpc_code,
            "reason": self.reason,
            "field": self.field,
            "provider": self.provider,
            "model": self.model,
            "api_error_code": self.api_error_code,
            "request_id": self.request_id,
        }


class ModelRateLimitError(ModelAPIError):
    """Too many requests or tokens for now; `retry_after` says how long to wait, where known."""


class ModelTimeoutError(ModelAPIError):
    """The answer did not come in time."""


class ModelTokenLimitError(ModelAPIError):
    """The prompt is longer than the model's context.

    Attributes:
        limit: the model's context in tokens; None: unknown. `token_limit` is the same.
        token_count: tokens of the request; None: unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: int | None = None,
        token_count: int | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.limit = limit
        self.token_count = token_count

    @property
    def token_limit(self) -> int | None:
        return self.limit

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"limit": self.limit, "token_count": self.token_count}


class ConversationLostError(ModelAPIError):
    """The call that carried a conversation is gone; the turn that ran has left no trace.

    Attributes:
        messages: all that was said before, as `run` and `converse` take it.
    """

    def __init__(self, message: str, *, messages: list[Any] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.messages = list(messages or ())


def _whole(seconds: float | None) -> float | None:
    """An int where the number is whole, so that it prints as "10s" and not "10.0s"."""
    if seconds is None:
        return None
    return int(seconds) if seconds == int(seconds) else seconds
