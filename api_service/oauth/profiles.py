"""The profiles as the contract tells of them. Knows nothing of gRPC: `marsys oauth` uses it too."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from api_service.oauth.kinds import KINDS, LoginKind, expanded
from api_service.oauth.login_error import Fault, LoginError
from api_service.oauth.logins import Login, Logins, login_failed
from api_service.oauth.profile_store import ProfileEntry, ProfileStore, check_name
from api_service.oauth.refresher import Refresher
from marsys.v1 import Profile, ProfileState
from serving.errors import invalid

_STATES: Mapping[Fault, ProfileState.ValueType] = {
    Fault.MISSING: ProfileState.PROFILE_STATE_MISSING,
    Fault.UNREADABLE: ProfileState.PROFILE_STATE_MALFORMED,
    Fault.EXPOSED: ProfileState.PROFILE_STATE_MALFORMED,
    Fault.MALFORMED: ProfileState.PROFILE_STATE_MALFORMED,
    Fault.EXPIRED: ProfileState.PROFILE_STATE_REVOKED,
    Fault.REVOKED: ProfileState.PROFILE_STATE_REVOKED,
}


class Profiles:
    """Lists, adds, removes and refreshes profiles.

    Args:
        store: where they are kept.
        logins: reads and refreshes their files.
        environ: environment variables.
    """

    def __init__(self, store: ProfileStore, logins: Logins, environ: Mapping[str, str]) -> None:
        self._store = store
        self._logins = logins
        self._environ = environ

    async def list(self, provider: str) -> list[Profile]:
        """The profiles of a provider, or of all.

        Raises:
            ServiceError: there is no such provider, or the store can't be read.
        """
        if provider:
            kind_of(provider)
        return [
            await self._told(entry)
            for entry in self._store.entries()
            if entry.provider in KINDS and provider in ("", entry.provider)
        ]

    async def get(self, provider: str, name: str) -> Profile:
        """A profile; without a name, the login that calls use which name none.

        Raises:
            ServiceError: there is no such provider or profile, or the store can't be read.
        """
        kind = kind_of(provider)
        if name:
            check_name(name)
        entry = self._store.find(provider, name)
        if entry is None:
            path = str(kind.default_path(self._environ))
            entry = ProfileEntry("", provider, path, "", is_default=False)
        return await self._told(entry)

    async def add(
        self, provider: str, name: str, path: str, *, description: str, set_default: bool
    ) -> Profile:
        """Add a profile of a login.

        Args:
            provider: its provider.
            name: its name.
            path: its file; empty: where the provider's CLI keeps it.
            description: what it is for.
            set_default: whether to make it the provider's default.

        Raises:
            ServiceError: there is a profile of the name, the file holds no login, or a value is
                wrong.
        """
        kind = kind_of(provider)
        check_name(name)
        file = expanded(path, self._environ) if path else kind.default_path(self._environ)
        if not file.is_absolute():
            raise invalid("credentials_path", 'must be an absolute path, or begin with "~/"')
        login = Login(kind, file)
        try:
            await self._logins.state(login)
        except LoginError as error:
            raise login_failed(login, error) from None
        self._store.add(ProfileEntry(name, provider, str(file), description, set_default))
        return await self.get(provider, name)

    async def remove(self, provider: str, name: str) -> None:
        """Remove a profile. Its file stays.

        Raises:
            ServiceError: there is no such profile.
        """
        kind_of(provider)
        self._store.remove(provider, name)

    async def set_default(self, provider: str, name: str) -> Profile:
        """Make a profile its provider's default.

        Raises:
            ServiceError: there is no such profile.
        """
        kind_of(provider)
        self._store.set_default(provider, name)
        return await self.get(provider, name)

    async def refresh(self, provider: str, name: str) -> Profile:
        """Refresh a profile's access token now, whatever its age.

        Raises:
            ServiceError: there is no such profile, or the provider is off, or its login can't be
                refreshed.
        """
        kind_of(provider)
        kind = self._logins.enabled_kind(provider)
        login = Login(kind, self._logins.path_of(kind, name, "name"))
        try:
            seen = (await self._logins.state(login)).fingerprint
            await self._logins.renewed(login, seen)
        except LoginError as error:
            raise login_failed(login, error) from None
        return await self.get(provider, name)

    async def _told(self, entry: ProfileEntry) -> Profile:
        profile = Profile(
            provider=entry.provider,
            name=entry.name,
            credentials_path=entry.credentials_path,
            is_default=entry.is_default,
            description=entry.description,
            state=ProfileState.PROFILE_STATE_VALID,
        )
        path = expanded(entry.credentials_path, self._environ)
        try:
            credentials = await self._logins.state(Login(KINDS[entry.provider], path))
        except LoginError as error:
            profile.state = _STATES[error.fault]
            profile.problem = f"{error}. {error.action}"
            return profile
        profile.account = credentials.account
        if credentials.expires_at is not None:
            profile.expire_time.CopyFrom(Timestamp(seconds=int(credentials.expires_at)))
            if credentials.expired(time.time()):
                profile.state = ProfileState.PROFILE_STATE_EXPIRED
        return profile


def kind_of(provider: str) -> LoginKind:
    """The kind of login of a provider.

    Raises:
        ServiceError: it has none.
    """
    kind = KINDS.get(provider)
    if kind is None:
        raise invalid("provider", f"must be one of {', '.join(KINDS)}")
    return kind


def local_profiles(store: ProfileStore, token_urls: dict[str, str]) -> Profiles:
    """The profiles of this machine's user, for a program that is no service.

    Args:
        store: where they are kept.
        token_urls: token endpoints by provider, where they aren't the usual ones.
    """
    environ = os.environ
    logins = Logins(tuple(KINDS), store, Refresher(token_urls, proxies=True), environ)
    return Profiles(store, logins, environ)
