"""The service: its parts, put together."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

from api_service.generator import RemoteGenerator
from api_service.model_service import RemoteModels
from api_service.providers.table import PROVIDERS, ProviderRow
from api_service.proxies import Proxies
from api_service.retry import Backoff
from api_service.settings import ApiSettings
from api_service.target import Targets
from api_service.timers import Waits
from api_service.transport import Transport
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from marsys.v1.oauth_service_pb2_grpc import OAuthServiceServicer
from serving.generator import Generator


class ApiApp:
    """api_service, as serving.server runs it. See serving.app.App.

    Args:
        settings: the settings.
        rows: the providers that are known before the operator adds any.
        environ: environment variables; hold the service's keys. Default: the process's.

    Raises:
        ValueError: an added provider has no base URL.
    """

    def __init__(
        self,
        settings: ApiSettings,
        rows: Mapping[str, ProviderRow] = PROVIDERS,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        targets = Targets(settings, environ, rows)
        self._transport = Transport(
            settings.connect_timeout,
            Waits(settings.first_token_timeout, settings.answer_timeout, settings.idle_timeout),
            _tls(settings),
            Proxies(environ) if settings.proxy_from_environment else None,
        )
        backoff = Backoff(settings.retry_base_delay)
        self.generator: Generator = RemoteGenerator(targets, self._transport, backoff)
        self.model_service: ModelServiceServicer = RemoteModels(targets, self._transport)
        self.oauth_service: OAuthServiceServicer | None = None

    async def start(self) -> None:
        """Nothing is to be prepared: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._transport.close()


def _tls(settings: ApiSettings) -> ssl.SSLContext | None:
    """How providers' certificates are verified; None: by the system's authorities alone."""
    if settings.ca_file is None:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(settings.ca_file)
    return context
