"""What a service gives to the server that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from marsys.v1.oauth_service_pb2_grpc import OAuthServiceServicer
from serving.generator import Generator

ModelHealthReport = Callable[[str, bool | None], None]
"""Told a model's name, and whether it answers; None: it isn't there any more. Called in the event
loop."""


class App(Protocol):
    """A service.

    Attributes:
        generator: answers InferenceService.
        model_service: serves ModelService.
        oauth_service: serves OAuthService; None where the service has no logins.
    """

    @property
    def generator(self) -> Generator: ...

    @property
    def model_service(self) -> ModelServiceServicer: ...

    @property
    def oauth_service(self) -> OAuthServiceServicer | None: ...

    async def start(self) -> None:
        """Get ready to answer. The port is open meanwhile and health says NOT_SERVING.

        Raises:
            Exception: the service can't start; the server ends with status 1.
        """
        ...

    async def stop(self) -> None:
        """Release everything. No call is running any more."""
        ...


@runtime_checkable
class HasModelHealth(Protocol):
    """An App whose models come and go. Health tells of each, beside the service's own."""

    def report_health(self, report: ModelHealthReport) -> None:
        """Tell of each model whether it answers, from now on and whenever that changes."""
        ...
