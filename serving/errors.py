"""The error that handlers raise. `serving.handlers` turns it into a gRPC status."""

from __future__ import annotations

import grpc

from marsys.rpc.reasons import meaning
from marsys.rpc.status import code_of
from marsys.v1 import ErrorReason, ModelError


class ServiceError(Exception):
    """A call failed for a known reason.

    Attributes:
        error: what the caller is told. It must hold no secret.
    """

    def __init__(self, error: ModelError) -> None:
        super().__init__(error.message)
        self.error = error

    @property
    def code(self) -> grpc.StatusCode:
        """gRPC status code of the call."""
        return code_of(self.error)


def service_error(
    reason: ErrorReason.ValueType,
    message: str,
    *,
    field: str = "",
    model: str = "",
    provider: str = "",
    retry_after: float | None = None,
    action: str | None = None,
) -> ServiceError:
    """A ServiceError with the reason's usual retryability and advice.

    Args:
        reason: why the call failed.
        message: the error in words, without secrets.
        field: path of the request's field at fault, such as "messages[2].parts[0].text".
        model: model that was asked.
        provider: provider that was asked.
        retry_after: how long to wait before trying again, in seconds.
        action: what the caller can do, where the reason's usual advice doesn't fit.
    """
    known = meaning(reason)
    error = ModelError(
        reason=reason,
        message=message,
        field=field,
        model=model,
        provider=provider,
        retryable=known.retryable,
        suggested_action=known.action if action is None else action,
    )
    if retry_after is not None:
        error.retry_after.FromMilliseconds(round(retry_after * 1000))
    return ServiceError(error)


def invalid(field: str, message: str) -> ServiceError:
    """INVALID_ARGUMENT: a field of the request is wrong. The message begins with the field."""
    return service_error(
        ErrorReason.ERROR_REASON_INVALID_REQUEST, f"{field}: {message}", field=field
    )


def unsupported(field: str, message: str, *, model: str = "", provider: str = "") -> ServiceError:
    """INVALID_ARGUMENT: a set parameter is not taken by the model."""
    return service_error(
        ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
        f"{field}: {message}",
        field=field,
        model=model,
        provider=provider,
    )


def not_served(rpc: str) -> ServiceError:
    """UNIMPLEMENTED: this service does not serve the RPC."""
    return service_error(
        ErrorReason.ERROR_REASON_UNIMPLEMENTED, f"{rpc} is not served by this service"
    )
