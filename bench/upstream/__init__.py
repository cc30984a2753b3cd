"""The fake provider of the benchmarks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Upstream:
    """The running fake provider.

    Attributes:
        address: HOST:PORT.
        pid: its process.
    """

    address: str
    pid: int

    def base_url(self, way: str) -> str:
        """Where it speaks Chat Completions and writes streams in this way."""
        return f"http://{self.address}/{way}/v1"


@contextmanager
def upstream(chunks: int, delay_ms: int) -> Iterator[Upstream]:
    """Run the fake provider: in C where there is a compiler, else in Python.

    Args:
        chunks: how many chunks a stream has.
        delay_ms: wait between them where they are paced.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            print("there is no C compiler: the fake provider runs in Python", file=sys.stderr)
            command = [sys.executable, str(_HERE / "upstream.py")]
        else:
            command = [str(Path(folder) / "upstream")]
            subprocess.run([compiler, "-O2", "-o", *command, _HERE / "upstream.c"], check=True)
        process = subprocess.Popen(
            [*command, str(chunks), str(delay_ms)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield Upstream(f"127.0.0.1:{process.stdout.readline().strip()}", process.pid)
        finally:
            process.terminate()
            process.wait()
