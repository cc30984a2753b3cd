"""The CPU accounting sees every process of a server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from bench.cpu import cpu_seconds, main_thread_seconds, processes, rss_bytes

_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
_WAIT = "print('ready', flush=True); import sys; sys.stdin.read()"


@pytest.fixture
def start() -> Iterator[Callable[[str], int]]:
    """Run a program in a session of its own until it says that it is ready. Gives its pid."""
    running = []

    def run(code: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield run
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_own_time(start: Callable[[str], int]) -> None:
    assert cpu_seconds(start(_BURN + _WAIT)) >= 0.3


def test_time_of_threads(start: Callable[[str], int]) -> None:
    code = f"import threading\nt = threading.Thread(target=exec, args=({_BURN!r},))\n"
    pid = start(code + "t.start(); t.join()\n" + _WAIT)
    assert main_thread_seconds(pid) < 0.3 <= cpu_seconds(pid)


def test_time_of_a_child_that_lives(start: Callable[[str], int]) -> None:
    child = f"[sys.executable, '-c', {_BURN + 'import sys; sys.stdin.read()'!r}]"
    pid = start(f"import subprocess, sys\nc = subprocess.Popen({child}, stdin=-1)\n{_WAIT}")
    _until(lambda: cpu_seconds(pid) >= 0.3)
    assert len(processes(pid)) == 2
    assert rss_bytes(pid) > 10e6


def test_time_of_a_child_that_ended(start: Callable[[str], int]) -> None:
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BURN!r}])\n"
    pid = start(code + _WAIT)
    assert processes(pid) == [pid]
    assert cpu_seconds(pid) >= 0.28  # in steps of 10 ms


def test_time_of_a_grandchild_without_its_parent(start: Callable[[str], int]) -> None:
    grandchild = _BURN + "import time; time.sleep(1.5)"
    child = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {grandchild!r}])\n"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n"
    pid = start(code + _WAIT)
    _until(lambda: cpu_seconds(pid) >= 0.3)
    assert len(processes(pid)) == 2


def test_no_such_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(FileNotFoundError):
        cpu_seconds(process.pid)
