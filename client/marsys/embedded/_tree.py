"""The directory in which the processes of one tree find their services. Only its user can enter it.

    DIRECTORY/api/             flock'ed while somebody looks for the service, or starts it
    DIRECTORY/api/current      name of the instance that runs
    DIRECTORY/api/NAME.owner   flock'ed for as long as the process that started it lives and has it
    DIRECTORY/api/NAME.sock    where it listens
    DIRECTORY/api/NAME.log     what it has written
    DIRECTORY/api/NAME.address   there once it listens

A lock ends with its process, however that ends. A process id would not do: it may be a zombie's.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from marsys.agents.exceptions import ModelConfigurationError
from marsys.rpc.target import Target

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUPPORTED = fcntl is not None
_VARIABLE = "MARSYS_EMBEDDED_DIR"
_LONGEST = 100  # bytes of a socket's path; some systems take no more than 103
_BENEATH = len("/local/01234567.sock")
_STALE = 3600.0  # seconds after which the directory of a tree that runs no service is removed
_ATTEMPTS = 100


def announce() -> None:
    """Say in the environment where the service of this tree is to be found, now or later.

    Processes that are started from now on share it, whichever starts it. Touches no file.
    """
    if SUPPORTED and not os.environ.get(_VARIABLE):
        os.environ[_VARIABLE] = str(_base() / f"{_family()}{os.urandom(6).hex()}")


@dataclass(frozen=True, slots=True)
class Instance:
    """A service, once started.

    Attributes:
        folder: the tree's directory for services of its kind.
        name: tells it from others before and after it.
    """

    folder: Path
    name: str

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / f"{self.name}.sock"

    @property
    def log(self) -> Path:
        """What it has written to its standard streams."""
        return self.folder / f"{self.name}.log"

    @property
    def owner(self) -> Path:
        """Locked by the process that started it."""
        return self.folder / f"{self.name}.owner"

    @property
    def address_file(self) -> Path:
        """There once it listens."""
        return self.folder / f"{self.name}.address"

    @property
    def target(self) -> Target:
        """Where to call it."""
        return Target(f"unix:{self.socket}", secure=False, loopback=True, log=str(self.log))

    @property
    def alive(self) -> bool:
        """Whether the process that started it lives and has not seen it end."""
        try:
            file = os.open(self.owner, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def own(self) -> int:
        """Lock it. Returns the file descriptor that holds the lock."""
        file = os.open(self.owner, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def remove_files(self) -> None:
        """Remove its files, the log among them."""
        for path in (self.socket, self.log, self.address_file, self.owner):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove its files, and the directories where nothing else is in them."""
        self.remove_files()
        with suppress(OSError):
            if (self.folder / "current").read_text() == self.name:
                (self.folder / "current").unlink()
        with suppress(OSError):
            self.folder.rmdir()
            self.folder.parent.rmdir()


class Folder:
    """The tree's directory for services of one kind.

    Args:
        kind: "api" or "local".
    """

    def __init__(self, kind: str) -> None:
        announce()
        self._root = Path(os.environ[_VARIABLE])
        self.path = self._root / kind

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out. Makes the directory where it isn't there.

        Raises:
            ModelConfigurationError: the directory is not this user's alone, or can't be made.
        """
        file = self._lock()
        try:
            yield
        finally:
            # In so many words: a process that was forked meanwhile may have the file open, too.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

    def current(self) -> Instance | None:
        """The instance that runs, whoever started it."""
        try:
            instance = Instance(self.path, (self.path / "current").read_text())
        except OSError:
            return None
        return instance if instance.alive and instance.socket.exists() else None

    def new(self) -> Instance:
        """A name for an instance that is to be started. What dead ones have left is removed."""
        for owner in self.path.glob("*.owner"):
            dead = Instance(self.path, owner.stem)
            if not dead.alive:
                dead.remove_files()
        _remove_stale(self._root)
        return Instance(self.path, os.urandom(4).hex())

    def publish(self, instance: Instance) -> None:
        """Let others find an instance."""
        scratch = self.path / "current.tmp"
        scratch.write_text(instance.name)
        scratch.replace(self.path / "current")

    def _lock(self) -> int:
        problem = "others keep removing it"
        for _ in range(_ATTEMPTS):
            try:
                self._make()
                file = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError as error:  # perhaps somebody has just removed it
                problem = error.strerror or str(error)
                continue
            except OSError as error:
                problem = error.strerror or str(error)
                break
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), self.path.stat()):
                    return file
            os.close(file)
        raise ModelConfigurationError(
            f"{_VARIABLE}: can't use {self.path}: {problem}", field=_VARIABLE
        )

    def _make(self) -> None:
        for path in (self._root, self.path):
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            if not _is_private(path):
                raise ModelConfigurationError(
                    f"{_VARIABLE}: {path} is open to others; remove it, or name another directory",
                    field=_VARIABLE,
                )


def _is_private(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _base() -> Path:
    longest = _LONGEST - _BENEATH - len(_family()) - 13
    usual = tempfile.gettempdir()
    return Path(usual if len(os.fsencode(usual)) <= longest else "/tmp")  # noqa: S108


def _family() -> str:
    return f"marsys-{os.getuid()}-"


def _remove_stale(root: Path) -> None:
    """Remove what killed trees have left beside `root`."""
    for other in root.parent.glob(f"{_family()}*"):
        with suppress(OSError):
            if (
                other != root
                and _is_private(other)
                and not any(Instance(o.parent, o.stem).alive for o in other.glob("*/*.owner"))
                and all(_age(path) > _STALE for path in (other, *other.glob("*")))
            ):
                shutil.rmtree(other, ignore_errors=True)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
