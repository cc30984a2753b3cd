"""The standard health check, grpc.health.v1, without its server package."""

from __future__ import annotations

from marsys.rpc.channel import sync_stubs
from marsys.rpc.connection import Connection

_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def check(connection: Connection, service: str = "", timeout: float = 5.0) -> str:
    """Ask whether a service is healthy.

    Args:
        connection: where to ask.
        service: full name of the service, such as "marsys.v1.InferenceService"; empty: all of them.
        timeout: how long to wait, in seconds.

    Returns:
        "SERVING", "NOT_SERVING", "UNKNOWN" or "SERVICE_UNKNOWN".

    Raises:
        grpc.RpcError: the call failed.
    """
    call = sync_stubs(connection).channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=_request,
        response_deserializer=_status,
    )
    status: int = call(service, timeout=timeout, metadata=connection.metadata)
    return _STATUS.get(status, "UNKNOWN")


def _request(service: str) -> bytes:
    """HealthCheckRequest: field 1 is the name."""
    name = service.encode()
    if len(name) > 127:
        raise ValueError("a service's name has at most 127 bytes")
    return bytes([0x0A, len(name)]) + name if name else b""


def _status(message: bytes) -> int:
    """HealthCheckResponse: field 1 is the status, an enum below 128."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
