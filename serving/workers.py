"""Several processes of a service on one port: the kernel hands each connection to one of them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving.files import write_whole
from serving.lifeline import watch_stdin
from serving.logs import configure_logs
from serving.settings import ServerSettings

log = logging.getLogger(__name__)

_LOOK = 0.02  # seconds between two looks whether a worker listens
_PAUSES = (1.0, 2.0, 5.0, 15.0)  # seconds before a worker that died is started again
_LAST_SECONDS = 10.0  # that workers may take to end, beside what running calls get


def run_workers(settings: ServerSettings, module: str, argv: Sequence[str], count: int) -> int:
    """Run a service as several processes until SIGINT or SIGTERM. Returns the exit status.

    A worker that dies is started again; one that can't start at first ends them all. Workers end
    with this process, however that ends.

    Args:
        settings: the service's settings.
        module: the service's module.
        argv: the arguments that this process was started with.
        count: how many processes.
    """
    configure_logs(settings.log_level, settings.log_format, ())
    try:
        with (
            _reserved(settings.address) as address,
            tempfile.TemporaryDirectory(prefix="marsys-workers-") as scratch,
        ):
            command = (sys.executable, "-m", module, *argv, "--workers", "1", "--reuse-port")
            command += ("--address", address, "--end-with-stdin")
            workers = [
                _Worker(number, command, Path(scratch) / f"{number}") for number in range(count)
            ]
            return asyncio.run(_serve(settings, address, workers))
    except OSError as error:
        log.error("can't listen on %s: %s", settings.address, error.strerror or error)
        return 1


async def _serve(settings: ServerSettings, address: str, workers: Sequence[_Worker]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():  # asked twice: no more patience
            for worker in workers:
                worker.send(signal.SIGKILL)
            os._exit(130)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    patience = settings.grace + _LAST_SECONDS
    if settings.end_with_stdin:
        watch_stdin(lambda: loop.call_soon_threadsafe(stopping.set), patience)
    kept = [asyncio.create_task(worker.keep()) for worker in workers]
    asked = asyncio.create_task(stopping.wait())
    listening = asyncio.create_task(_all_listen(workers))
    try:
        await asyncio.wait({asked, listening, *kept}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            if settings.address_file is not None:
                write_whole(settings.address_file, address)
            log.info("%d workers listen on %s", len(workers), address)
            await asyncio.wait({asked, *kept}, return_when=asyncio.FIRST_COMPLETED)
        # A worker that was not to end says why it could not start.
        status = next((task.result() for task in kept if task.done()), 0)
        for worker in workers:
            worker.stop()
        _, late = await asyncio.wait(kept, timeout=patience)
        if late:
            log.warning("%d workers are killed after %.0f s", len(late), patience)
            for worker in workers:
                worker.send(signal.SIGKILL)
            await asyncio.wait(kept)
        log.info("stopped")
        return status
    finally:
        asked.cancel()
        listening.cancel()


async def _all_listen(workers: Sequence[_Worker]) -> None:
    # Files, which processes write: nothing here can tell of them.
    while not all(worker.address_file.exists() for worker in workers):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK)


@dataclass
class _Worker:
    """One of the processes.

    Attributes:
        number: its place among them.
        command: starts it.
        address_file: there while it listens.
    """

    number: int
    command: tuple[str, ...]
    address_file: Path
    _process: asyncio.subprocess.Process | None = None
    _stopping: bool = False

    async def keep(self) -> int:
        """Run it, again where it dies, until it is stopped; gives the status of the last run."""
        deaths = 0
        while True:
            status = await self._run()
            if self._stopping:
                return status
            listened = self.address_file.exists()
            if not listened and deaths == 0:
                return status or 1
            self.address_file.unlink(missing_ok=True)
            pause = _PAUSES[0 if listened else min(deaths, len(_PAUSES) - 1)]
            deaths = 1 if listened else deaths + 1
            log.error(
                "worker %d ended with status %d; it is started again in %.0f s",
                self.number,
                status,
                pause,
            )
            await asyncio.sleep(pause)
            if self._stopping:
                return 0

    async def _run(self) -> int:
        # Its standard input ends with this process. Not in the terminal's group: Ctrl-C comes once,
        # by way of this process.
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            "--address-file",
            str(self.address_file),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        if self._stopping:
            self.send(signal.SIGTERM)
        return await self._process.wait()

    def stop(self) -> None:
        self._stopping = True
        self.send(signal.SIGTERM)

    def send(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


@contextmanager
def _reserved(address: str) -> Iterator[str]:
    """Hold a port for the workers; gives the address with the port that it has.

    Raises:
        OSError: the port is taken, or can't be shared.
    """
    if address.startswith("unix:") or not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("workers share a TCP port; this is none that can be shared")
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Another service that shares its port would share it with this one, too.
    with socket.socket(family, kind, protocol) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(place)
    with socket.socket(family, kind, protocol) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(place)
        yield f"{host}:{shared.getsockname()[1]}"
