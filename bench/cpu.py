"""CPU time of a process and of its children."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, in seconds; the kernel counts in steps of 10 ms."""
    used = 0.0
    for process in _tree(pid):
        # The name may hold spaces and brackets; the fields stand behind its last bracket.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used += sum(int(fields[index]) for index in (11, 12, 13, 14)) * _TICK
    return used


def rss_bytes(pid: int) -> int:
    """Resident memory of a process tree."""
    pages = (int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in _tree(pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _tree(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found
