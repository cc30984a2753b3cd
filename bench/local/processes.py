"""Servers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START = 600  # seconds
VLLM_ON_CPU = {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}


@contextmanager
def serving(
    command: Sequence[str], ready: Path | None = None, url: str = "", **env: str
) -> Iterator[None]:
    """A server, once a file of it is there or a URL answers. Ended with all of its children."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env=os.environ | env, start_new_session=True
        )
        try:
            until = time.monotonic() + _START
            while not (_has_text(ready) if ready is not None else _answers(url)):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise RuntimeError(f"{command} did not start: {said.read()[-3000:].decode()}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _has_text(file: Path) -> bool:
    return file.exists() and bool(file.read_text())


def _answers(url: str) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False
