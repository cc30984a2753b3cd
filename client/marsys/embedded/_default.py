"""Whether a service of ours answers on its usual port."""

from __future__ import annotations

import socket

import grpc

from marsys.rpc.connection import Connection
from marsys.rpc.health import check
from marsys.v1 import inference_service_pb2

_SERVICE = f"{inference_service_pb2.DESCRIPTOR.package}.InferenceService"
_PATIENCE = 5.0  # seconds
# How others answer: the ports are not ours alone (gRPC's own examples use 50051, too).
_FOREIGN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)


def answers(connection: Connection) -> bool:
    """Whether the service that answers at a connection's target, "HOST:PORT", is one of ours."""
    host, _, port = connection.target.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except OSError:
        return False
    try:
        return check(connection, _SERVICE, _PATIENCE) != "SERVICE_UNKNOWN"
    except grpc.RpcError as error:
        return error.code() not in _FOREIGN  # one that is slow to answer may well be ours
