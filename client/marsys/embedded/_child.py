"""Starts a service as a child process, and knows when it has ended.

The child holds the reading end of a pipe as its standard input, this process alone the writing end.
When this process ends, however it does, the system closes the pipe and the child sees it. (Linux's
PR_SET_PDEATHSIG would not do: it goes off when the thread that started the child ends.)
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

from marsys.agents.exceptions import ModelAPIError
from marsys.embedded._tree import Instance
from marsys.embedded.programs import Program

_PAUSE = 0.02  # seconds between two looks at a child that starts
_SILENCE = 3.0  # seconds after which the user is told what is waited for
_PATIENCE = 120.0  # seconds that a start may take
# Settings that would keep a client out, or another service's file busy. The socket's directory is
# what protects an embedded service.
_NOT_FOR_CHILDREN = ("TOKEN", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "ADDRESS_FILE")


class Child:
    """A service that this process runs.

    Args:
        program: which service.
        instance: its name and files. Its folder is locked by the caller.

    Attributes:
        instance: the same.
        target: where to call it.
        alive: whether it runs, as far as is known.

    Raises:
        ModelAPIError: it did not start.
    """

    def __init__(self, program: Program, instance: Instance) -> None:
        self.instance = instance
        self.target = instance.target
        self.alive = True
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._owner = instance.own()
        _running.add(self)
        try:
            self._process = self._start()
            self._wait_until_it_listens(self._process)
        except BaseException:
            self.release()
            raise

    def wait(self) -> None:
        """Wait until it has ended."""
        if self._process is not None:
            self._process.wait()
        self.release()

    def release(self) -> None:
        """Let it end, and say that it is not this process's any more. May be called again."""
        with _lock:
            self.alive = False
            _running.discard(self)
            files, self._lifeline, self._owner = (self._lifeline, self._owner), -1, -1
        for file in files:
            if file >= 0:
                os.close(file)

    def forget(self) -> None:
        """In a process forked from the one that started it: hold nothing of it."""
        if self._process is not None:
            self._process.returncode = 0  # not this process's child: nothing is to be waited for
        self.release()

    def _start(self) -> subprocess.Popen[bytes]:
        reading, self._lifeline = os.pipe()
        command = [sys.executable, "-P", "-m", self._program.module, "--end-with-stdin"]
        command += ["--address", self.instance.target.address]
        command += ["--address-file", str(self.instance.address_file)]
        log = os.open(self.instance.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # Not in the terminal's group: Ctrl-C is for this process.
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=reading,
                stdout=log,
                stderr=log,
                env=_environment(self._program),
                start_new_session=True,
            )
        except OSError as error:
            raise self._failure(f"can't run {sys.executable}: {error.strerror}") from None
        finally:
            os.close(reading)
            os.close(log)

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        started = time.monotonic()
        told = False
        while not self.instance.address_file.exists():
            if process.poll() is not None:
                raise self._failure(f"it ended with status {process.returncode}")
            waited = time.monotonic() - started
            if waited > _PATIENCE:
                process.kill()
                process.wait()
                raise self._failure(f"it did not listen within {_PATIENCE:.0f} s")
            if waited > _SILENCE and not told:
                told = True
                _tell(f"marsys: starting {self._program.module} (log: {self.instance.log})")
            time.sleep(_PAUSE)

    def _failure(self, why: str) -> ModelAPIError:
        last = ""
        with suppress(OSError):
            lines = self.instance.log.read_text(errors="replace").strip().splitlines()
            last = f": {lines[-1][:500]}" if lines else ""
        return ModelAPIError(
            f"{self._program.module} did not start: {why}{last}",
            classification="service_unavailable",
            reason="SERVICE_UNAVAILABLE",
            grpc_code="UNAVAILABLE",
            suggested_action=f"Its log is {self.instance.log}. Mend what it names, or set a "
            "target to use a service that runs.",
        )


# Those of this process. Reentrant: a signal's handler may end the program while it is held.
_running: set[Child] = set()
_lock = threading.RLock()


def _environment(program: Program) -> dict[str, str]:
    left_out = {"MARSYS_TOKEN", *(program.prefix + name for name in _NOT_FOR_CHILDREN)}
    environment = {
        name: value for name, value in os.environ.items() if name.upper() not in left_out
    }
    environment["MARSYS_EMBEDDED"] = "0"
    set_there = {name.upper() for name in environment}
    # A file of settings lies beneath the environment, so ours would hide what it says.
    if f"{program.prefix}CONFIG" not in set_there:
        for name, value in program.embedded_settings.items():
            if program.prefix + name not in set_there:
                environment[program.prefix + name] = value
    return environment


def _tell(line: str) -> None:
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)


def _forget_all() -> None:
    global _lock
    _lock = threading.RLock()
    for child in list(_running):
        child.forget()


@atexit.register
def _end_all() -> None:
    # It is not waited for: the closed pipe is enough, and nobody wants to wait for that.
    for child in list(_running):
        child.release()
        child.instance.remove()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
