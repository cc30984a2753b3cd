"""Which login a call uses, and the headers that show it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from api_service.oauth.credential_file import CredentialFile, Identity, identity_of, read_file
from api_service.oauth.credentials import Credentials
from api_service.oauth.kinds import KINDS, LoginKind, expanded
from api_service.oauth.login_error import Fault, LoginError
from api_service.oauth.profile_store import ProfileStore
from api_service.oauth.refresher import Refresher
from marsys.v1 import ErrorReason, ProviderTarget
from serving.errors import ServiceError, invalid, service_error

log = logging.getLogger(__name__)

_PAUSE = 30.0  # seconds after a failed refresh in which a token that still lasts is used as it is
_MOST_FILES = 256
_LONGEST_PATH = 4096


@dataclass(frozen=True, slots=True)
class Login:
    """A login that a call uses.

    Attributes:
        kind: the kind of login.
        path: its file.
    """

    kind: LoginKind
    path: Path


@dataclass(slots=True)
class _Known:
    """What is known of one file."""

    identity: Identity | None = None
    file: CredentialFile | None = None
    paused_until: float = 0.0  # time.monotonic()
    ended: LoginError | None = None  # why the login is gone
    ended_at: Identity | None = None  # in which state of the file
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Logins:
    """Finds logins and keeps them fresh. The files are other programs': each call looks at them.

    Attributes:
        store: the named logins.

    Args:
        enabled: the providers whose logins the operator has turned on.
        store: the named logins.
        refresher: has them refreshed.
        environ: environment variables.
        directories: where callers on other machines may name files.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        enabled: Sequence[str],
        store: ProfileStore,
        refresher: Refresher,
        environ: Mapping[str, str],
        directories: Sequence[Path] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._enabled = frozenset(enabled)
        self.store = store
        self._refresher = refresher
        self._environ = environ
        self._directories = tuple(directory.resolve() for directory in directories)
        self._clock = clock
        self._files: OrderedDict[Path, _Known] = OrderedDict()

    def find(self, provider: str, given: ProviderTarget, trusted: bool) -> Login:
        """The login of a call: of the path that it names, else of the profile that it names, else
        the provider's default profile, else where the provider's CLI keeps it.

        Args:
            provider: a provider of KINDS.
            given: what the call says.
            trusted: whether the caller may name any path.

        Raises:
            ServiceError: the operator hasn't turned the provider on, the path is not allowed, or
                there is no such profile.
        """
        kind = self.enabled_kind(provider)
        if given.credentials_path:
            path = self.allowed_path(given.credentials_path, trusted, "target.credentials_path")
            return Login(kind, path)
        return Login(kind, self.path_of(kind, given.oauth_profile, "target.oauth_profile"))

    def enabled_kind(self, provider: str) -> LoginKind:
        """The kind of login of a provider that is turned on.

        Raises:
            ServiceError: it isn't.
        """
        if provider not in self._enabled:
            raise turned_off(provider)
        return KINDS[provider]

    def path_of(self, kind: LoginKind, profile: str, where: str) -> Path:
        """The file of a profile; without a name, of the login that calls use which name none.

        Raises:
            ServiceError: there is no such profile of the provider, or the store can't be read.
        """
        entry = self.store.find(kind.provider, profile, where)
        if entry is not None:
            return expanded(entry.credentials_path, self._environ)
        return kind.default_path(self._environ)

    def allowed_path(self, text: str, trusted: bool, where: str) -> Path:
        """A path that a caller names.

        Raises:
            ServiceError: it is no absolute path, or the caller may not name it.
        """
        if "\0" in text or len(text) > _LONGEST_PATH:
            raise invalid(where, "is no path")
        path = expanded(text, self._environ)
        if not path.is_absolute():
            raise invalid(where, 'must be an absolute path, or begin with "~/"')
        if trusted:
            return path
        resolved = path.resolve()
        if any(resolved.is_relative_to(directory) for directory in self._directories):
            return resolved
        raise service_error(
            ErrorReason.ERROR_REASON_NOT_ALLOWED,
            f"{where}: callers on other machines may not name this path",
            field=where,
            action="Use a profile of the service, or ask its operator to add the directory to "
            "credentials_dirs.",
        )

    def usable(self, provider: str) -> bool:
        """Whether there is a login for calls that name none."""
        if provider not in self._enabled:
            return False
        try:
            return self.path_of(KINDS[provider], "", "provider").is_file()
        except (ServiceError, OSError):
            return False

    async def current(self, login: Login) -> Credentials:
        """The login as its file has it now, refreshed where that is due.

        Raises:
            LoginError: it can't be used.
        """
        known = self._known(login.path)
        credentials = await self._read(login, known)
        now = self._clock()
        if not credentials.due(now):
            return credentials
        lasts = not credentials.expired(now)
        if lasts and time.monotonic() < known.paused_until:
            return credentials
        try:
            return await self._refresh(login, known, credentials)
        except LoginError as error:
            if not lasts:
                raise
            log.warning(
                "%s: %s; the present token is used while it lasts", login.kind.provider, error
            )
            known.paused_until = time.monotonic() + _PAUSE
            return credentials

    async def renewed(self, login: Login, refused: str) -> Credentials:
        """The login with another access token than the one that the provider refused.

        Args:
            login: the login.
            refused: fingerprint of that access token.

        Raises:
            LoginError: there is no other.
        """
        known = self._known(login.path)
        credentials = await self._read(login, known)
        if credentials.fingerprint != refused:
            return credentials
        return await self._refresh(login, known, credentials)

    async def state(self, login: Login) -> Credentials:
        """The login as its file has it now.

        Raises:
            LoginError: it can't be used. An access token that can be refreshed is no reason.
        """
        known = self._known(login.path)
        credentials = await self._read(login, known)
        self._raise_if_ended(known)
        if credentials.expired(self._clock()) and not credentials.refresh_token:
            raise LoginError(
                Fault.EXPIRED,
                f"the login at {login.path} has ended and holds no refresh token",
                f"Run `{login.kind.command}` on the machine that holds the login.",
            )
        return credentials

    async def _read(self, login: Login, known: _Known) -> Credentials:
        """What the file holds; read only where it has changed."""
        identity = identity_of(login.kind, login.path)
        if known.file is None or identity != known.identity:
            async with known.lock:
                if known.file is None or identity != known.identity:
                    file = await asyncio.to_thread(read_file, login.kind, login.path)
                    known.file, known.identity = file, file.identity
        return known.file.credentials

    async def _refresh(self, login: Login, known: _Known, old: Credentials) -> Credentials:
        self._raise_if_ended(known)
        try:
            await self._refresher.refresh(login.kind, login.path, old.fingerprint)
        except LoginError as error:
            if error.fault in (Fault.REVOKED, Fault.EXPIRED):
                known.ended, known.ended_at = error, known.identity
            raise
        return await self._read(login, known)

    def _raise_if_ended(self, known: _Known) -> None:
        """A login that is gone stays so until somebody changes its file."""
        if known.ended is not None and known.ended_at == known.identity:
            raise known.ended

    def _known(self, path: Path) -> _Known:
        known = self._files.get(path)
        if known is None:
            known = self._files[path] = _Known()
            if len(self._files) > _MOST_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(path)
        return known


def turned_off(provider: str) -> ServiceError:
    """The error of a call for whose provider logins are off."""
    return service_error(
        ErrorReason.ERROR_REASON_NOT_ALLOWED,
        f"{provider} is off: the operator of the service has not turned it on",
        provider=provider,
        action=f"Start the service with --oauth-providers {provider}, once you have read what "
        "docs/oauth.md says about the provider's terms; or use an API key.",
    )


def login_failed(login: Login, error: LoginError) -> ServiceError:
    """The error of a call whose login can't be used."""
    passing = error.fault is Fault.UNAVAILABLE
    reason = (
        ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
        if passing
        else ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED
    )
    return service_error(
        reason, f"{login.kind.provider}: {error}", provider=login.kind.provider, action=error.action
    )
