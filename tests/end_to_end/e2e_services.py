"""A service as a process of its own, as users start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Service:
    """A service in a process of its own.

    Attributes:
        address: where it listens.
        process: the process.
        log_file: what it has written to its standard streams.
    """

    def __init__(
        self, module: str, scratch: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.log_file = scratch / "log"
        address_file = scratch / "address"
        command = [sys.executable, "-m", module, "--address", "127.0.0.1:0"]
        command += ["--address-file", str(address_file), *arguments]
        clean = {k: v for k, v in os.environ.items() if not k.endswith(("_API_KEY", "_TOKEN"))}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env={**clean, **(environment or {})}
            )
        wait_until(lambda: address_file.exists() or self.process.poll() is not None, 60)
        assert address_file.exists(), self.log()
        self.address = address_file.read_text()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def healthy(self) -> bool:
        probe = [sys.executable, "-m", "marsys.cli", "health", self.address]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def wait_ready(self, seconds: float = 240) -> Service:
        wait_until(lambda: self.healthy() or self.process.poll() is not None, seconds, 0.3)
        assert self.process.poll() is None, self.log()
        return self

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def wait_until(condition: Callable[[], Any], seconds: float = 20, pause: float = 0.05) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(pause)
