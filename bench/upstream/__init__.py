"""The fake provider of the benchmarks."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).parent / "upstream.c"


@contextmanager
def upstream(chunks: int, delay_ms: int) -> Iterator[str]:
    """Builds and runs the fake provider (a C compiler is needed). Gives its address.

    Args:
        chunks: how many chunks a stream has.
        delay_ms: wait between them where they are paced.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "upstream"
        subprocess.run(["cc", "-O2", "-o", program, _SOURCE], check=True)
        process = subprocess.Popen(
            [program, str(chunks), str(delay_ms)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()
            process.wait()
