"""Programs that use the client, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def start(source: str, address: str, directory: Path) -> subprocess.Popen[str]:
    """Run a program, where every warning is an error.

    Args:
        source: its text.
        address: of the service; sys.argv[1].
        directory: where its file may lie.
    """
    file = directory / "program.py"
    file.write_text(source)
    path = os.pathsep.join((str(_ROOT / "client"), str(_ROOT)))
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", str(file), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
