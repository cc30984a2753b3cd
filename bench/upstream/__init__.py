"""The fake provider of the benchmarks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent


@contextmanager
def upstream(chunks: int, delay_ms: int) -> Iterator[str]:
    """Run the fake provider: in C where there is a compiler, else in Python. Gives its address.

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
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()
            process.wait()
