"""The questions that were typed, kept in a file between sessions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: two sessions that write at the same moment may lose an entry
    fcntl = None  # type: ignore[assignment]

HISTORY_ENV = "MARSYS_CHAT_HISTORY"
_OFF = ("", "0", "off", "no", "false")
_MOST = 2000  # entries; of more, the later half is kept


def history_path() -> Path | None:
    """The file: MARSYS_CHAT_HISTORY, else ~/.marsys/chat_history; None where it is "off"."""
    named = os.environ.get(HISTORY_ENV)
    if named is not None:
        return None if named.strip().lower() in _OFF else Path(named).expanduser()
    return Path("~/.marsys/chat_history").expanduser()


class History:
    """Entries of a file that only its owner can read (mode 0600): a JSON string a line.

    Sessions may share it. What can't be read is left out, what can't be written is lost: no chat
    fails for its history.

    Args:
        path: the file; it and its directory are made at the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[str]:
        """All entries, the oldest first."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        return [entry for line in lines if (entry := _read(line))]

    def add(self, entry: str) -> None:
        """Add an entry.

        Raises:
            OSError: it can't be written.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked() as file:
            file.write(json.dumps(entry, ensure_ascii=False).encode(errors="replace") + b"\n")
            self._shorten(file)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "rb+") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(OSError, AttributeError):
                os.fchmod(file.fileno(), 0o600)  # also where somebody else has made it
            yield file

    def _shorten(self, file: BinaryIO) -> None:
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if len(lines) > _MOST:
            file.seek(0)
            file.truncate()
            file.write(b"".join(lines[-_MOST // 2 :]))


def _read(line: bytes) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    return entry if isinstance(entry, str) else ""
