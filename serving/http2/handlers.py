"""The methods that a server has, as the generated add_*_to_server functions register them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler
Interceptor = grpc.aio.ServerInterceptor


@dataclass(frozen=True, slots=True)
class CallDetails(grpc.HandlerCallDetails):
    """What interceptors see of a call."""

    method: str
    invocation_metadata: Any


class Handlers:
    """The methods, by path.

    Args:
        interceptors: asked in turn before a method is found.
    """

    def __init__(self, interceptors: Sequence[Interceptor] = ()) -> None:
        self._methods: dict[str, Handler] = {}
        self._interceptors = tuple(interceptors)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Called by generated code."""
        for name, handler in handlers.items():
            self._methods[f"/{service}/{name}"] = handler

    def add_generic_rpc_handlers(self, handlers: Sequence[object]) -> None:
        """Called by generated code, with what add_registered_method_handlers gets, too."""

    @property
    def plain(self) -> bool:
        """Whether no interceptor is to be asked."""
        return not self._interceptors

    def get(self, path: str) -> Handler | None:
        """The handler of a method, where no interceptor is to be asked."""
        return self._methods.get(path)

    async def find(self, path: str, metadata: Any) -> Handler | None:
        """The handler of a method; None: there is none."""
        if not self._interceptors:
            return self._methods.get(path)
        details = CallDetails(path, metadata)

        async def last(details: grpc.HandlerCallDetails) -> Handler | None:
            return self._methods.get(path)

        found: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]] = last
        for interceptor in reversed(self._interceptors):
            found = _bound(interceptor, found)
        return await found(details)


def _bound(interceptor: Interceptor, following: Any) -> Any:
    async def intercept(details: grpc.HandlerCallDetails) -> Handler | None:
        found: Handler | None = await interceptor.intercept_service(following, details)
        return found

    return intercept
