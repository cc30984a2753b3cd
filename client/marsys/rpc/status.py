"""ModelError <-> gRPC status: the one place where errors go onto the wire and come off it."""

from __future__ import annotations

from typing import cast

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from marsys.rpc.reasons import DOMAIN, meaning, reason_name
from marsys.v1 import ErrorReason, ModelError

# A failed RPC without our details comes from gRPC itself or from something between. Its code tells
# the most likely reason.
_REASON_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: ErrorReason.ERROR_REASON_INVALID_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: ErrorReason.ERROR_REASON_INVALID_REQUEST,
    grpc.StatusCode.NOT_FOUND: ErrorReason.ERROR_REASON_INVALID_MODEL,
    grpc.StatusCode.UNAUTHENTICATED: ErrorReason.ERROR_REASON_UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: ErrorReason.ERROR_REASON_PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION: ErrorReason.ERROR_REASON_CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorReason.ERROR_REASON_OVERLOADED,
    grpc.StatusCode.UNAVAILABLE: ErrorReason.ERROR_REASON_NETWORK_ERROR,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorReason.ERROR_REASON_TIMEOUT,
    grpc.StatusCode.UNIMPLEMENTED: ErrorReason.ERROR_REASON_UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL: ErrorReason.ERROR_REASON_INTERNAL,
}


def code_of(error: ModelError) -> grpc.StatusCode:
    """gRPC status code of an RPC that fails with this error."""
    return meaning(error.reason).code


def to_status(error: ModelError, request_id: str = "") -> status_pb2.Status:
    """The google.rpc.Status of an error, with the details that ErrorReason documents."""
    details: list[any_pb2.Any] = [_packed(_error_info(error)), _packed(error)]
    if request_id:
        details.append(_packed(error_details_pb2.RequestInfo(request_id=request_id)))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message
        )
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.HasField("retry_after"):
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=error.retry_after)))
    code = code_pb2.Code.Value(code_of(error).name)
    return status_pb2.Status(code=code, message=error.message, details=details)


def to_call_status(error: ModelError, request_id: str = "") -> grpc.Status:
    """What a servicer aborts a call with (`context.abort_with_status`).

    Clients repeat calls that fail with UNAVAILABLE before any header. What failed here was tried,
    and repeated where that helps, so that they must not; save where another instance may answer.
    """
    status = rpc_status.to_status(to_status(error, request_id))
    elsewhere = error.reason == ErrorReason.ERROR_REASON_SHUTTING_DOWN
    final = () if elsewhere else (("grpc-retry-pushback-ms", "-1"),)
    trailers = (*status.trailing_metadata, *final)
    return cast(grpc.Status, status._replace(trailing_metadata=trailers))


def from_rpc_error(error: grpc.RpcError) -> ModelError:
    """The error that a failed call carries, or one made from its gRPC status."""
    code = error.code()
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the details contradict the status: a proxy replaced one of them
        status = None
    for detail in status.details if status else ():
        model_error = ModelError()
        if detail.Is(ModelError.DESCRIPTOR) and detail.Unpack(model_error):
            return model_error
    reason = _REASON_OF_CODE.get(code, ErrorReason.ERROR_REASON_UNKNOWN)
    text = error.details() or code.name
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        reason = ErrorReason.ERROR_REASON_REQUEST_TOO_LARGE
    known = meaning(reason)
    return ModelError(
        reason=reason,
        message=f"{code.name}: {text}",
        retryable=known.retryable,
        suggested_action=known.action,
    )


def _error_info(error: ModelError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(reason=reason_name(error.reason), domain=DOMAIN)
    if error.provider:
        info.metadata["provider"] = error.provider
    if error.HasField("http_status"):
        info.metadata["http_status"] = str(error.http_status)
    if error.provider_code:
        info.metadata["provider_code"] = error.provider_code
    if error.provider_request_id:
        info.metadata["provider_request_id"] = error.provider_request_id
    return info


def _packed(message: error_details_pb2.ErrorInfo | ModelError | object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
