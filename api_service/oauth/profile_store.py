"""Named logins, in a file of this machine's user: ~/.marsys/credentials.json.

    {"version": 1,
     "profiles": {NAME: {"provider", "credentials_path", "description", "created_at"}},
     "defaults": {PROVIDER: NAME}}

It holds paths, never tokens. What else stands in it stays.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from api_service.oauth.credentials import JsonObject, object_at, text_at
from api_service.oauth.kinds import expanded, user_home
from marsys.v1 import ErrorReason
from serving.errors import ServiceError, invalid, service_error

STORE_ENV = "MARSYS_CREDENTIALS_PATH"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_DESCRIPTION = 200
_MOST_BYTES = 1024 * 1024
_LOCK_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """A named login.

    Attributes:
        name: its name.
        provider: its provider.
        credentials_path: its file.
        description: what it is for; may be empty.
        is_default: whether it is its provider's default.
    """

    name: str
    provider: str
    credentials_path: str
    description: str
    is_default: bool


def store_path(environ: Mapping[str, str]) -> Path:
    """Where the profiles are: MARSYS_CREDENTIALS_PATH, else ~/.marsys/credentials.json."""
    named = environ.get(STORE_ENV, "").strip()
    if named:
        return expanded(named, environ)
    return user_home(environ) / ".marsys" / "credentials.json"


def check_name(name: str, field: str = "name") -> str:
    """The name of a profile.

    Raises:
        ServiceError: it can't be one.
    """
    if not _NAME.fullmatch(name) or set(name) == {"."}:
        raise invalid(field, "must be 1 to 64 of [A-Za-z0-9_.-]")
    return name


class ProfileStore:
    """The profiles of a file. Others may change it: it is read anew when they have.

    Args:
        path: the file; it is made when the first profile is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int, int] | None = None
        self._document: JsonObject = {}

    def entries(self) -> list[ProfileEntry]:
        """All profiles, by provider and name.

        Raises:
            ServiceError: the file can't be read.
        """
        document = self._read()
        defaults = object_at(document, "defaults")
        found = [
            ProfileEntry(
                name,
                text_at(profile, "provider"),
                text_at(profile, "credentials_path"),
                text_at(profile, "description"),
                defaults.get(text_at(profile, "provider")) == name,
            )
            for name, profile in object_at(document, "profiles").items()
            if isinstance(profile, dict)
        ]
        return sorted(found, key=lambda entry: (entry.provider, entry.name))

    def find(self, provider: str, name: str, field: str = "name") -> ProfileEntry | None:
        """A profile of a provider; without a name its default, None where it has none.

        Raises:
            ServiceError: the provider has no such profile, or the file can't be read.
        """
        if not name:
            defaults = object_at(self._read(), "defaults")
            name, field = text_at(defaults, provider), "default profile"
            if not name:
                return None
        for entry in self.entries():
            if entry.name == name and entry.provider == provider:
                return entry
        raise service_error(
            ErrorReason.ERROR_REASON_NOT_FOUND,
            f"{field}: {provider} has no profile {name[:64]!r}",
            field=field if field != "default profile" else "",
            provider=provider,
            action="Run `marsys oauth list` to see the profiles.",
        )

    def add(self, entry: ProfileEntry) -> None:
        """Add a profile; its provider's default where it says so.

        Raises:
            ServiceError: there is one of the name, a value is wrong, or the file can't be written.
        """
        check_name(entry.name)
        if len(entry.description) > _LONGEST_DESCRIPTION or not entry.description.isprintable():
            raise invalid(
                "description", f"must be a line of at most {_LONGEST_DESCRIPTION} characters"
            )

        def change(document: JsonObject) -> None:
            profiles = _object_in(document, "profiles")
            if entry.name in profiles:
                raise service_error(
                    ErrorReason.ERROR_REASON_CONFLICT,
                    f"name: there is a profile {entry.name!r} already",
                    field="name",
                    action="Take another name, or remove that profile first.",
                )
            profiles[entry.name] = {
                "provider": entry.provider,
                "credentials_path": entry.credentials_path,
                "description": entry.description,
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            if entry.is_default:
                _object_in(document, "defaults")[entry.provider] = entry.name

        self._change(change)

    def remove(self, provider: str, name: str) -> None:
        """Remove a profile. A default that it was, the provider has no more.

        Raises:
            ServiceError: there is no such profile, or the file can't be written.
        """
        self.find(provider, check_name(name))

        def change(document: JsonObject) -> None:
            _object_in(document, "profiles").pop(name, None)
            defaults = _object_in(document, "defaults")
            if defaults.get(provider) == name:
                del defaults[provider]

        self._change(change)

    def set_default(self, provider: str, name: str) -> None:
        """Make a profile its provider's default.

        Raises:
            ServiceError: there is no such profile, or the file can't be written.
        """
        self.find(provider, check_name(name))

        def change(document: JsonObject) -> None:
            _object_in(document, "defaults")[provider] = name

        self._change(change)

    def _read(self) -> JsonObject:
        try:
            status = self.path.stat()
            identity = status.st_mtime_ns, status.st_size, status.st_ino
            if identity != self._identity:
                self._document, self._identity = self._parse(), identity
        except FileNotFoundError:
            self._document, self._identity = {}, None
        except OSError as error:
            raise self._unusable(f"can't be read: {os.strerror(error.errno or 0)}") from None
        return self._document

    def _parse(self) -> JsonObject:
        with self.path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        try:
            document = json.loads(data) if len(data) <= _MOST_BYTES else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._unusable("holds no profiles")
        return document

    def _change(self, change: Callable[[JsonObject], None]) -> None:
        with self._locked():
            document = self._parse() if self.path.exists() else {}
            change(document)
            new = self.path.with_name(f".{self.path.name}.new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(descriptor)
            os.replace(new, self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(f"{self.path}.lock", mode=0o600, preserve_lock_file=True)
            with lock.acquire(timeout=_LOCK_WAIT):
                yield
        except Timeout:
            raise self._unusable("is being changed by another process") from None
        except OSError as error:
            raise self._unusable(f"can't be written: {os.strerror(error.errno or 0)}") from None

    def _unusable(self, why: str) -> ServiceError:
        return service_error(
            ErrorReason.ERROR_REASON_CONFLICT,
            f"the profiles' file {self.path} {why}",
            action=f"Mend or move the file, or name another one in {STORE_ENV}.",
        )


def _object_in(document: JsonObject, key: str) -> dict[str, Any]:
    """The object at a key, made where there is none."""
    value = document.get(key)
    if not isinstance(value, dict):
        value = document[key] = {}
        document.setdefault("version", 1)
    return value
