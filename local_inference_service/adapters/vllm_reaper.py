"""Ends vLLM's processes when the process that started them is gone, whatever killed it.

They don't notice by themselves, and would hold the GPU. A small process waits for the end of a pipe
whose other end lies in the process that is watched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Child(NamedTuple):
    """A process: its id, and when it began, since ids are used again.

    Attributes:
        pid: process id.
        started: clock ticks from the machine's start to the process's.
    """

    pid: int
    started: int


class Reaper:
    """Watches over processes until it is closed; then, and when this process dies, they end.

    Args:
        pids: of the processes.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        children = [child for pid in pids if (child := _look(pid)) is not None]
        words = [f"{child.pid}:{child.started}" for child in children]
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", __file__, *words],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal isn't for it
        )

    def close(self) -> None:
        """End what is still there of the processes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _look(pid: int) -> Child | None:
    """A running process; None where it has ended, or where the system doesn't tell (not Linux)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name may hold spaces and brackets; the fields stand behind its last bracket.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else Child(pid, int(fields[19]))


def _main(words: Sequence[str]) -> None:
    children = [Child(*map(int, word.split(":"))) for word in words]
    sys.stdin.buffer.read()
    for child in children:
        if _look(child.pid) == child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    _main(sys.argv[1:])
