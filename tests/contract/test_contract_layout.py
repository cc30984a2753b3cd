"""Who may import whom (pyproject.toml, [tool.importlinter])."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = shutil.which("lint-imports", path=str(Path(sys.executable).parent))


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    assert LINTER, "import-linter is not installed"
    environment = {"PYTHONPATH": f"{root}/client:{root}", "PATH": "/usr/bin:/bin"}
    command = [LINTER, "--no-cache", "--config", str(root / "pyproject.toml")]
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def test_the_layout_is_kept():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("client/marsys/rpc/reasons.py", "import serving.errors"),
        ("client/marsys/stream.py", "import aiohttp"),
        ("serving/errors.py", "import api_service"),
        ("api_service/service.py", "import local_inference_service.service"),
        ("api_service/providers/openai_chat.py", "import asyncio"),
        ("local_inference_service/service.py", "import marsys.models"),
    ],
)
def test_a_forbidden_import_is_found(file, line, tmp_path):
    for name in ("client", "serving", "api_service", "local_inference_service", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / name, ignore=skipped)
        else:
            shutil.copy(source, tmp_path / name)
    path = tmp_path / file
    path.write_text(path.read_text() + f"\n{line}\n")
    assert lint_imports(tmp_path).returncode != 0
