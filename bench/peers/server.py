"""Peers that are servers: the load generator calls them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.cpu import cpu_seconds, rss_bytes
from bench.load import Call, Load
from bench.peers.peer import Measured, Setup

_START = 120  # seconds


@dataclass(frozen=True)
class Command:
    """How a server is started.

    Attributes:
        arguments: of its process.
        environment: further variables.
        address: where it will listen; None: it writes that into `address` of its folder.
        folder: its working directory; None: the project's.
    """

    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    address: str | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        address: HOST:PORT.
        pid: its first process.
        ready: seconds from its start until its first right answer.
    """

    address: str
    pid: int
    ready: float
    load: Load
    call: Callable[[str, bool], Call]

    def run(
        self, way: str, stream: bool, concurrency: int, calls: int, connections: int = 1
    ) -> Measured:
        """Call it; see Subject."""
        before = cpu_seconds(self.pid)
        loaded = self.load.run(
            self.address, self.call(way, stream), concurrency, calls, connections
        )
        return Measured(cpu_seconds(self.pid) - before, loaded)

    def rss(self) -> int:
        """Resident bytes of all its processes."""
        return rss_bytes(self.pid)


@dataclass(frozen=True)
class ServerPeer:
    """A peer that is a server; see Peer.

    Attributes:
        installed: makes it ready to run and gives its version.
        command: how it is started.
        call: a call to it, by the way in which the provider writes, and whether it streams.
    """

    key: str
    title: str
    installed: Callable[[Path], str]
    command: Callable[[Setup], Command]
    call: Callable[[str, bool], Call]

    def install(self, installs: Path) -> str:
        return self.installed(installs)

    @contextmanager
    def running(self, setup: Setup) -> Iterator[Server]:
        command = self.command(setup)
        address_file, log_file = setup.folder / "address", setup.folder / "log"
        begun = time.perf_counter()
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env=os.environ | command.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            why = ""
            call = self.call("burst", False)
            while True:
                if process.poll() is not None or time.perf_counter() - begun > _START:
                    said = log_file.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.title} did not start: {why}\n{said}")
                address = command.address or _text(address_file)
                if not address or not _listens(address):
                    time.sleep(0.005)
                    continue
                try:
                    setup.load.run(address, call, 1, 1)
                except RuntimeError as error:
                    why = str(error)
                    time.sleep(0.02)
                    continue
                break
            ready = time.perf_counter() - begun
            yield Server(address, process.pid, ready, setup.load, self.call)
        finally:
            _end(process)


def free_address() -> str:
    """An address of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
