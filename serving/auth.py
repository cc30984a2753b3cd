"""The static bearer token: callers without it are refused."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from marsys.rpc.status import to_call_status
from marsys.v1 import ErrorReason
from serving.call_context import CallContext
from serving.errors import service_error

# Probes have no token, and health tells nothing but whether the service is up.
_OPEN = "/grpc.health.v1.Health/"

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call pass if it carries `authorization: Bearer <token>`; health checks always do."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        if handler_call_details.method.startswith(_OPEN) or self._admits(
            handler_call_details.invocation_metadata
        ):
            return await continuation(handler_call_details)
        return grpc.unary_unary_rpc_method_handler(_refuse)

    def _admits(self, metadata: object) -> bool:
        given = [value for key, value in metadata or () if key == "authorization"]  # type: ignore[attr-defined]
        if len(given) != 1:
            return False
        value = given[0]
        return hmac.compare_digest(
            value if isinstance(value, bytes) else value.encode(), self._expected
        )


async def _refuse(request: object, context: CallContext) -> None:
    error = service_error(
        ErrorReason.ERROR_REASON_UNAUTHENTICATED, "the call has no valid bearer token"
    )
    await context.abort_with_status(to_call_status(error.error))
