"""The service: its parts, put together."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping

from api_service.exchange import Exchanges
from api_service.generator import RemoteGenerator
from api_service.model_service import RemoteModels
from api_service.oauth.kinds import KINDS
from api_service.oauth.logins import Logins
from api_service.oauth.profile_store import ProfileStore, store_path
from api_service.oauth.profiles import Profiles
from api_service.oauth.refresher import Refresher
from api_service.oauth.service import LoginProfiles
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

log = logging.getLogger(__name__)


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
        logins, self._notices = _logins(settings, environ), _notices(settings)
        targets = Targets(settings, environ, rows, logins)
        self._transport = Transport(
            settings.connect_timeout,
            Waits(settings.first_token_timeout, settings.answer_timeout, settings.idle_timeout),
            _tls(settings),
            Proxies(environ) if settings.proxy_from_environment else None,
        )
        exchanges = Exchanges(self._transport, logins)
        backoff = Backoff(settings.retry_base_delay)
        self.generator: Generator = RemoteGenerator(targets, self._transport, exchanges, backoff)
        self.model_service: ModelServiceServicer = RemoteModels(targets, self._transport, exchanges)
        self.oauth_service: OAuthServiceServicer | None = LoginProfiles(
            Profiles(logins.store, logins, environ),
            logins,
            targets.trusts,
            settings.allow_remote_logins,
        )

    async def start(self) -> None:
        """Connections are made when they are needed; nothing but notices is due."""
        for notice in self._notices:
            log.warning(notice)

    async def stop(self) -> None:
        """Close the connections."""
        await self._transport.close()


def _logins(settings: ApiSettings, environ: Mapping[str, str]) -> Logins:
    token_urls = {
        name: given.token_url
        for name, given in settings.providers.items()
        if given.token_url is not None
    }
    refresher = Refresher(token_urls, settings.ca_file, settings.proxy_from_environment)
    store = ProfileStore(settings.oauth_profiles_file or store_path(environ))
    return Logins(settings.oauth_providers, store, refresher, environ, settings.credentials_dirs)


def _notices(settings: ApiSettings) -> list[str]:
    """What whoever turns logins on must know."""
    return [KINDS[provider].notice for provider in dict.fromkeys(settings.oauth_providers)]


def _tls(settings: ApiSettings) -> ssl.SSLContext | None:
    """How providers' certificates are verified; None: by the system's authorities alone."""
    if settings.ca_file is None:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(settings.ca_file)
    return context
