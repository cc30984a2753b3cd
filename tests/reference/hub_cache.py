"""The hub's cache after the page's local models were fetched: small ones in their place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tiny_models import make_tiny_vlm

from local_inference_service.embedded import ensure_embedded_model

TEXT_MODEL = "Qwen/Qwen3-4B-Instruct-2507"
IMAGE_MODEL = "Qwen/Qwen3-VL-8B-Instruct"

_COMMIT = "0" * 40


def make_hub_cache(home: Path) -> dict[str, str]:
    """Fill it; gives the environment in which it is used, and no hub is asked."""
    _put(home, TEXT_MODEL, ensure_embedded_model(lambda *progress: None))
    _put(home, IMAGE_MODEL, make_tiny_vlm(home / "tiny-vlm"))
    return {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}


def run_program(text: str, folder: Path, environment: dict[str, str]) -> dict[str, object]:
    """Run a program whose last line prints JSON; gives what it printed."""
    program = folder / "program.py"
    program.write_text(text)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return said


def _put(home: Path, name: str, files: Path) -> None:
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(_COMMIT)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / _COMMIT).symlink_to(files)
