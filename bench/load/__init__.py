"""The load generator. It runs in a process of its own, whose CPU time counts for nobody."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Call:
    """What is asked, again and again.

    Attributes:
        protocol: how: gRPC, or HTTP/1.1 with POST.
        path: of the URL, or of the gRPC method.
        body: the message, or the HTTP body.
        needle: text that answers hold. It holds its first byte once.
        count: how often an answer holds it.
        headers: "Name: value".
    """

    protocol: Literal["grpc", "http"]
    path: str
    body: bytes
    needle: str
    count: int
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """What a load saw.

    Attributes:
        wall: seconds in all.
        took: seconds of each call.
        first: seconds until the first needle of each call came.
        cpu: CPU seconds of the load generator.
    """

    wall: float
    took: Sequence[float]
    first: Sequence[float]
    cpu: float


class Load:
    """The load generator, compiled; in Python, and for gRPC alone, where no compiler is.

    Args:
        folder: where it is put.
    """

    def __init__(self, folder: Path) -> None:
        self._body = folder / "body"
        self._command = [str(folder / "load")]
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            print("there is no C compiler: the load generator is in Python", file=sys.stderr)
            self._command = [sys.executable, str(_HERE / "load.py")]
        else:
            sources = [_HERE / name for name in ("load.c", "http1.c", "grpc.c")]
            subprocess.run([compiler, "-O2", "-o", *self._command, *sources], check=True)

    def run(
        self, address: str, call: Call, concurrency: int, calls: int, connections: int = 1
    ) -> Loaded:
        """Make calls; each of so many callers makes the next one once it has its answer.

        Args:
            address: HOST:PORT.
            call: what is asked.
            concurrency: how many callers.
            calls: how many calls in all.
            connections: over which gRPC callers are spread; each HTTP caller has its own.

        Raises:
            RuntimeError: an answer is not what it should be; says how.
        """
        self._body.write_bytes(call.body)
        done = subprocess.run(
            [*self._command, call.protocol, address, str(connections), str(concurrency),
             str(calls), call.needle, str(call.count), call.path, str(self._body), *call.headers],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-2000:] or f"status {done.returncode}")
        loaded = Loaded(**json.loads(done.stdout))
        if len(loaded.took) != calls:
            raise RuntimeError(f"{len(loaded.took)} of {calls} calls were made")
        return loaded
