"""The `marsys` command as a user runs it: as a process, in pipes or on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

NOBODY = "127.0.0.1:9"
_NOWHERE = {"MARSYS_API_TARGET": NOBODY, "MARSYS_LOCAL_TARGET": NOBODY}


def marsys(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The command in pipes, run to its end. No service is there unless `env` names one.

    `program=True` calls it by the name that its users know, which completion goes by.
    """
    environment = {**os.environ, **_NOWHERE, **options.pop("env", {})}
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    start = ["-m", "marsys.cli"]
    if options.pop("program", False):
        start = ["-c", "import sys; sys.argv[0] = 'marsys'; import marsys.cli; marsys.cli.main()"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


class Terminal:
    """The command on a pseudo-terminal.

    Args:
        *arguments: of the command.
        env: further variables; HOME should be a scratch directory where a history is kept.
        command: what to run instead of the command.
    """

    def __init__(self, *arguments: str, env: dict[str, str], command: str | None = None) -> None:
        pid, self.fd = pty.fork()
        if pid == 0:
            # A shell that starts tests in the background has them ignore Ctrl-C.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.environ.update({**_NOWHERE, "TERM": "dumb", **env})
            if command is not None:
                os.execv("/bin/sh", ["/bin/sh", "-c", command])
            os.execv(sys.executable, [sys.executable, "-m", "marsys.cli", *arguments])
        self.pid = pid
        self.seen = ""

    def wait_for(self, words: str) -> str:
        """Read until the words have come; what came before them is given back and forgotten."""
        end = time.monotonic() + 60
        while words not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            self._read()
        before, _, self.seen = self.seen.partition(words)
        return before

    def interrupt(self, words: str) -> None:
        """Press Ctrl-C until the words have come.

        As a person does: Python misses a signal that comes just before it waits for input, and
        takes it with the next one.
        """
        end = time.monotonic() + 60
        while words not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            self.type("\x03")
            patience = time.monotonic() + 2
            while words not in self.seen and time.monotonic() < patience:
                self._read()
        self.seen = self.seen.partition(words)[2]

    def _read(self) -> None:
        if select.select([self.fd], [], [], 0.1)[0]:
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it has ended: {self.seen[-2000:]}") from None

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def ask(self, keys: str) -> None:
        """Type at the next prompt."""
        self.wait_for("> ")
        self.type(keys)

    def status(self) -> int:
        """Read to the end; gives the exit status."""
        try:
            while more := os.read(self.fd, 65536):
                self.seen += more.decode()
        except OSError:  # the other end is closed
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
