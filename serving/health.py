"""grpc.health.v1 for the service and, beside it, for each of its models.

The library's servicer keeps every name for ever and tells of changes only from coroutines; models
come and go, and what a call sees must hold at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.call_context import CallContext

SERVICE_NAME = "grpc.health.v1.Health"

_STATUS = health_pb2.HealthCheckResponse
_Context = CallContext


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Serves Check and Watch. Used from one event loop."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._closing = False

    def set(self, name: str, serving: bool | None) -> None:
        """Say of a service whether it answers; None: there is none of that name any more.

        Nothing answers any more once the server is closing.
        """
        if serving is None:
            self._serving.pop(name, None)
        else:
            self._serving[name] = serving and not self._closing
        for changed in self._watchers.get(name, ()):
            changed.set()

    def close(self) -> None:
        """Say NOT_SERVING of all services, for good."""
        self._closing = True
        for name in list(self._serving):
            self.set(name, False)

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _STATUS(status=self._status(request.service))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        changed = asyncio.Event()
        watchers = self._watchers.setdefault(request.service, set())
        watchers.add(changed)
        last = None
        try:
            while True:
                changed.clear()
                status = self._status(request.service)
                if status != last:
                    last = status
                    yield _STATUS(status=status)
                await changed.wait()
        finally:
            watchers.discard(changed)
            if not watchers and self._watchers.get(request.service) is watchers:
                del self._watchers[request.service]

    def _status(self, name: str) -> Any:
        serving = self._serving.get(name)
        if serving is None:
            return _STATUS.SERVICE_UNKNOWN
        return _STATUS.SERVING if serving else _STATUS.NOT_SERVING
