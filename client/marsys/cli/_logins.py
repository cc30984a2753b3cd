"""Login profiles as the commands see them: those of this machine's user, or a service's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from marsys.agents.exceptions import ModelConfigurationError
from marsys.cli._services import api
from marsys.cli._terminal import call_errors
from marsys.models._errors import to_exception
from marsys.rpc.channel import sync_stubs
from marsys.rpc.connection import Connection
from marsys.v1 import (
    AddProfileRequest,
    GetProfileRequest,
    ListProfilesRequest,
    Profile,
    RefreshProfileRequest,
    RemoveProfileRequest,
    SetDefaultProfileRequest,
)

_TIMEOUT = 120.0  # seconds; a refresh may have to wait for another process's


class Logins(Protocol):
    """Profiles. Every method raises ModelAPIError where the profiles can't do it."""

    def list(self, provider: str = "") -> list[Profile]: ...

    def get(self, provider: str, name: str) -> Profile: ...

    def add(
        self, provider: str, name: str, path: str, description: str, set_default: bool
    ) -> Profile: ...

    def remove(self, provider: str, name: str) -> None: ...

    def set_default(self, provider: str, name: str) -> Profile: ...

    def refresh(self, provider: str, name: str) -> Profile: ...


class ServiceLogins:
    """The profiles of a running service.

    Args:
        target: where it is; None: MARSYS_API_TARGET, else 127.0.0.1:50051.
    """

    def __init__(self, target: str | None) -> None:
        self._connection: Connection = api(target).connection

    def list(self, provider: str = "") -> list[Profile]:
        return list(self._call("ListProfiles", ListProfilesRequest(provider=provider)).profiles)

    def get(self, provider: str, name: str) -> Profile:
        return self._one("GetProfile", GetProfileRequest(provider=provider, name=name))

    def add(
        self, provider: str, name: str, path: str, description: str, set_default: bool
    ) -> Profile:
        request = AddProfileRequest(
            provider=provider,
            name=name,
            credentials_path=path,
            description=description,
            set_default=set_default,
        )
        return self._one("AddProfile", request)

    def remove(self, provider: str, name: str) -> None:
        self._call("RemoveProfile", RemoveProfileRequest(provider=provider, name=name))

    def set_default(self, provider: str, name: str) -> Profile:
        request = SetDefaultProfileRequest(provider=provider, name=name)
        return self._one("SetDefaultProfile", request)

    def refresh(self, provider: str, name: str) -> Profile:
        return self._one("RefreshProfile", RefreshProfileRequest(provider=provider, name=name))

    def _one(self, rpc: str, request: Any) -> Profile:
        profile: Profile = self._call(rpc, request).profile
        return profile

    def _call(self, rpc: str, request: Any) -> Any:
        method = getattr(sync_stubs(self._connection).oauth, rpc)
        with call_errors(self._connection.target, _TIMEOUT):
            return method(request, timeout=_TIMEOUT, metadata=self._connection.metadata)


class LocalLogins:
    """The profiles of this machine's user. They are api_service's to read and refresh.

    Args:
        token_url: token endpoint of every provider; None: each provider's own.

    Raises:
        ModelConfigurationError: api_service's libraries are not installed.
    """

    def __init__(self, token_url: str | None = None) -> None:
        try:
            stores = import_module("api_service.oauth.profile_store")
            profiles = import_module("api_service.oauth.profiles")
            import_module("httpx")
            self.kinds = import_module("api_service.oauth.kinds").KINDS
            check = import_module("api_service.oauth.token_url").check_token_url
            self._error = import_module("serving.errors").ServiceError
        except ModuleNotFoundError as error:
            raise ModelConfigurationError(
                f"logins need what is not installed: {error.name}",
                suggestion="Run: pip install 'marsys-models[api]', or name a --target.",
            ) from None
        store = stores.ProfileStore(stores.store_path(os.environ))
        self.directory: Path = store.path.parent / "oauth"
        try:
            urls = {} if token_url is None else dict.fromkeys(self.kinds, check(token_url))
        except ValueError as error:
            raise ModelConfigurationError(f"token_url: {error}", field="token_url") from None
        self._profiles = profiles.local_profiles(store, urls)

    def list(self, provider: str = "") -> list[Profile]:
        found: list[Profile] = self._run(self._profiles.list(provider))
        return found

    def get(self, provider: str, name: str) -> Profile:
        return self._one(self._profiles.get(provider, name))

    def add(
        self, provider: str, name: str, path: str, description: str, set_default: bool
    ) -> Profile:
        return self._one(
            self._profiles.add(
                provider, name, path, description=description, set_default=set_default
            )
        )

    def remove(self, provider: str, name: str) -> None:
        self._run(self._profiles.remove(provider, name))

    def set_default(self, provider: str, name: str) -> Profile:
        return self._one(self._profiles.set_default(provider, name))

    def refresh(self, provider: str, name: str) -> Profile:
        return self._one(self._profiles.refresh(provider, name))

    def _one(self, work: Coroutine[Any, Any, Any]) -> Profile:
        profile: Profile = self._run(work)
        return profile

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run(work)
        except self._error as error:
            raise to_exception(error.error) from None
