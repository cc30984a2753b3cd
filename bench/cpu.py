"""CPU time and memory of a server with all of its processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, in seconds, with that of threads that have ended.

    Children that have ended and were waited for count too, in the kernel's steps of 10 ms.

    Raises:
        OSError: there is no such process.
    """
    used = 0.0
    for process in processes(pid):
        fields = _stat(process)
        used += time.clock_gettime(_clock(process)) + (int(fields[13]) + int(fields[14])) * _TICK
    return used


def main_thread_seconds(pid: int) -> float:
    """User and system time of the first thread of a process, in seconds.

    Raises:
        OSError: there is no such process.
    """
    return int(_read(f"/proc/{pid}/task/{pid}/schedstat").split()[0]) * 1e-9


def rss_bytes(pid: int) -> int:
    """Resident memory of a process tree; pages that processes share count for each."""
    pages = (int(_read(f"/proc/{one}/statm").split()[1]) for one in processes(pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def processes(pid: int) -> list[int]:
    """A process, its descendants, and those of its session that lost their parent.

    The session counts only where the process leads it (`start_new_session=True`).

    Raises:
        FileNotFoundError: there is no such process.
    """
    found = [pid]
    _stat(pid)
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, _read(str(children)).split())
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) not in found:
            try:
                session = int(_stat(int(entry.name))[3])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if session == pid:
                found.append(int(entry.name))
    return found


def _clock(pid: int) -> int:
    """Linux's number of the clock that counts what a process uses (clock_getcpuclockid(3))."""
    return (~pid << 3) | 2


def _stat(pid: int) -> list[str]:
    """The fields behind the name, which may hold spaces and brackets."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(name: str) -> str:
    return Path(name).read_text()
