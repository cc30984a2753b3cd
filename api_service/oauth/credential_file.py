"""A file of credentials that other programs write too: read whole, replaced whole."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from api_service.oauth.credentials import Credentials, JsonObject
from api_service.oauth.kinds import LoginKind
from api_service.oauth.login_error import Fault, LoginError

_MOST_BYTES = 1024 * 1024
_READS = 6
_PAUSE = 0.05  # seconds between reads of a file that is being written
_OTHERS = stat.S_IWGRP | stat.S_IRWXO  # a group may read: that is how containers mount secrets
_ROOM = 64 * 1024  # bytes that new tokens may need beyond the old file


def _flags(flags: int, *names: str) -> int:
    """Flags of os.open, with those that this system has."""
    for name in ("O_CLOEXEC", "O_BINARY", *names):
        flags |= getattr(os, name, 0)
    return flags


# Reading doesn't block: what is named may be a pipe that nobody writes to.
_TO_READ = _flags(os.O_RDONLY, "O_NONBLOCK", "O_NOCTTY")
_TO_MAKE = _flags(os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "O_NOFOLLOW")
_TO_CHANGE = _flags(os.O_WRONLY)

Identity = tuple[int, int, int]
"""Changes whenever a file is written or replaced."""


@dataclass(frozen=True, slots=True)
class CredentialFile:
    """What a file held when it was read.

    Attributes:
        document: its JSON.
        credentials: the login in it.
        identity: which state of the file that was.
    """

    document: JsonObject
    credentials: Credentials
    identity: Identity


def identity_of(kind: LoginKind, path: Path) -> Identity:
    """The present state of a file.

    Raises:
        LoginError: there is no such file.
    """
    try:
        return _identity(path.stat())
    except OSError as error:
        raise _unreadable(kind, path, error) from None


def read_file(kind: LoginKind, path: Path) -> CredentialFile:
    """Read a file; again for a moment where it is half written, as some CLIs write in place.

    Raises:
        LoginError: it is missing, can't be read, is open to others, or holds no login.
    """
    for left in reversed(range(_READS)):
        try:
            return _read_once(kind, path)
        except LoginError as error:
            if error.fault is not Fault.MALFORMED or not left:
                raise
        time.sleep(_PAUSE)
    raise AssertionError("the last read returned or raised")


def _read_once(kind: LoginKind, path: Path) -> CredentialFile:
    try:
        descriptor = os.open(path, _TO_READ)
    except OSError as error:
        raise _unreadable(kind, path, error) from None
    try:
        status = os.fstat(descriptor)
        _check_status(kind, path, status)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(kind, path, error) from None
    finally:
        os.close(descriptor)
    if len(data) > _MOST_BYTES:
        raise _malformed(kind, path, f"it is larger than {_MOST_BYTES} bytes")
    document = _parse(kind, path, data)
    try:
        credentials = kind.read(document, status.st_mtime)
    except ValueError as error:
        raise _malformed(kind, path, str(error)) from None
    return CredentialFile(document, credentials, _identity(status))


def _check_status(kind: LoginKind, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LoginError(Fault.UNREADABLE, f"{path} is no file", _log_in(kind))
    if os.name == "posix" and status.st_mode & _OTHERS:
        raise LoginError(
            Fault.EXPOSED,
            f"others on the machine may read or change {path}"
            f" (mode {stat.S_IMODE(status.st_mode):04o})",
            f"Run `chmod 600 {path}`; if others may have read it, `{kind.command}` as well.",
        )


def _parse(kind: LoginKind, path: Path, data: bytes) -> JsonObject:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):  # its text may show what it choked on: tokens
        raise _malformed(kind, path, "it is no JSON") from None
    if not isinstance(document, dict):
        raise _malformed(kind, path, "it is no JSON object")
    return document


class Replacement:
    """A new version of a file. All that can fail is done before it is known what it will hold.

    Readers see the old file or the new one, never a part of either. A context manager: what was not
    committed is taken away. Only one process at a time may hold one for a file.

    Args:
        kind: the kind of login.
        path: the file; a link is followed.

    Raises:
        LoginError: the directory can't be written to, or has no room.
    """

    def __init__(self, kind: LoginKind, path: Path) -> None:
        self._path = path.resolve()
        self._new = new_version(self._path)
        try:
            self._descriptor = os.open(self._new, _TO_MAKE, 0o600)
        except OSError as error:
            raise _unwritable(kind, self._path, error) from None
        try:
            self._take_room()
        except OSError as error:
            self._discard()
            raise _unwritable(kind, self._path, error) from None

    def commit(self, document: JsonObject) -> None:
        """Make the new version the file."""
        data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(
            "utf-8", "surrogatepass"
        )
        _write_all(self._descriptor, data)
        os.ftruncate(self._descriptor, len(data))
        os.fsync(self._descriptor)
        _put(self._new, self._path, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        os.close(self._descriptor)
        with suppress(FileNotFoundError):
            self._new.unlink()

    def _take_room(self) -> None:
        old = self._path.stat()
        if hasattr(os, "fchmod"):
            os.fchmod(self._descriptor, 0o600)
        if hasattr(os, "fchown") and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(PermissionError):  # whose file it was, keeps it
                os.fchown(self._descriptor, old.st_uid, old.st_gid)
        _write_all(self._descriptor, bytes(old.st_size + _ROOM))


def new_version(path: Path) -> Path:
    """Where the new version of a file grows. Left over where its writer was killed."""
    return path.with_name(f".{path.name}.marsys-new")


def recover(kind: LoginKind, path: Path) -> None:
    """Finish what a killed writer had begun: its new version is whole and newer than the file.

    Only for who holds the lock of the file.
    """
    resolved = path.resolve()
    left = new_version(resolved)
    with suppress(OSError, LoginError, ValueError):
        data = left.read_bytes().rstrip(b"\0")  # it was made with room to spare
        modified = left.stat().st_mtime_ns
        kind.read(_parse(kind, left, data), modified / 1e9)
        if modified >= resolved.stat().st_mtime_ns:
            os.truncate(left, len(data))
            _put(left, resolved, data)


def _put(new: Path, path: Path, data: bytes) -> None:
    """Have a new version, with its data, take the place of a file."""
    try:
        os.replace(new, path)
    except OSError:  # a file that is mounted by itself can't be replaced
        _overwrite(path, data)
    _sync_directory(path.parent)


def _write_all(descriptor: int, data: bytes) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _overwrite(path: Path, data: bytes) -> None:
    """Write over a file in place: first the new bytes, then the new length."""
    descriptor = os.open(path, _TO_CHANGE)
    try:
        _write_all(descriptor, data)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # not every file system has it
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _identity(status: os.stat_result) -> Identity:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _log_in(kind: LoginKind) -> str:
    return f"Run `{kind.command}` on the machine that holds the login."


def _unreadable(kind: LoginKind, path: Path, error: OSError) -> LoginError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return LoginError(Fault.MISSING, f"there is no login at {path}", _log_in(kind))
    why = os.strerror(error.errno) if error.errno else type(error).__name__
    return LoginError(
        Fault.UNREADABLE,
        f"{path} can't be read: {why}",
        f"Let the service's user read it, or run `{kind.command}` as that user.",
    )


def _malformed(kind: LoginKind, path: Path, why: str) -> LoginError:
    return LoginError(Fault.MALFORMED, f"{path} holds no login: {why}", _log_in(kind))


def _unwritable(kind: LoginKind, path: Path, error: OSError) -> LoginError:
    why = os.strerror(error.errno) if error.errno else type(error).__name__
    return LoginError(
        Fault.UNWRITABLE,
        f"the token is due, and a new one can't be kept at {path}: {why}",
        f"Let the service's user write to {path.parent}, or run `{kind.command}` again.",
    )
