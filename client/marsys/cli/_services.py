"""The two services as the commands see them."""

from __future__ import annotations

from dataclasses import dataclass

from marsys.agents.exceptions import ModelAPIError
from marsys.cli._terminal import call_errors
from marsys.rpc.channel import sync_stubs
from marsys.rpc.connection import Connection, connect
from marsys.rpc.target import API_DEFAULT, API_ENV, LOCAL_DEFAULT, LOCAL_ENV
from marsys.v1 import ListModelsRequest, Model

TIMEOUT = 15.0  # seconds that a list of models may take


@dataclass(frozen=True, slots=True)
class Service:
    """One of the two services.

    Attributes:
        name: "api" or "local".
        connection: where it is.
    """

    name: str
    connection: Connection

    def models(self, timeout: float = TIMEOUT, provider: str = "") -> list[Model]:
        """All models that the service lists.

        Args:
            timeout: how long each page may take, in seconds.
            provider: only this provider's; empty: all.

        Raises:
            ModelAPIError: the call failed.
        """
        stubs = sync_stubs(self.connection)
        found: list[Model] = []
        request = ListModelsRequest(page_size=1000, provider=provider)
        with call_errors(self.connection.target, timeout, self.name):
            while True:
                answer = stubs.models.ListModels(
                    request, timeout=timeout, metadata=self.connection.metadata
                )
                found.extend(answer.models)
                if not answer.next_page_token:
                    return found
                request.page_token = answer.next_page_token


def api(target: str | None = None) -> Service:
    """api_service."""
    return Service("api", connect(target, API_ENV, API_DEFAULT))


def local(target: str | None = None) -> Service:
    """local_inference_service."""
    return Service("local", connect(target, LOCAL_ENV, LOCAL_DEFAULT))


def models_or_none(service: Service) -> list[Model] | None:
    """The service's models; None where it does not answer."""
    try:
        return service.models(timeout=3.0)
    except ModelAPIError:
        return None
