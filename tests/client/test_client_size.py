"""What the client weighs: the modules that importing it loads, and the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Beyond the standard library. grpc itself looks for its siblings.
OF_GRPC = {
    "grpc",
    "grpc_status",
    "grpc_health",
    "grpc_reflection",
    "grpc_tools",
    "google",
    "typing_extensions",
}
OF_PYDANTIC = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}

LOADED = """
import json, sys
before = set(sys.modules)
{code}
new = set(sys.modules) - before
foreign = {{name.partition(".")[0] for name in new}} - sys.stdlib_module_names
print(json.dumps([len(new), sorted(foreign)]))
"""


def loaded_by(code: str, *path: Path) -> tuple[int, set[str]]:
    """How many modules a program loads, and the packages beyond the standard library."""
    given = os.pathsep.join(map(str, path or (ROOT / "client",)))
    result = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": given},
        cwd="/",
    )
    count, foreign = json.loads(result.stdout)
    # Compiled modules register names of their own.
    return count, {name for name in foreign if not name.startswith(("_", "cython_runtime"))}


@pytest.mark.parametrize(
    ("code", "more", "most"),
    [
        ("import marsys.models", set(), 400),
        ("import marsys.agents.exceptions", set(), 40),
        ("from marsys.models import ModelConfig", OF_PYDANTIC, 500),
        ("from marsys.models import BaseAPIModel; BaseAPIModel('openai', 'm')", set(), 400),
        ("import marsys.models.fallback, marsys.models.converse", set(), 400),
    ],
)
def test_importing_the_client_loads_little(code: str, more: set[str], most: int):
    count, foreign = loaded_by(code)
    assert foreign <= {"marsys"} | OF_GRPC | more
    assert count <= most


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_is_below_a_megabyte(wheel: Path):
    assert wheel.stat().st_size < 1_000_000


def test_the_wheel_holds_what_it_needs_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.partition("/")[0] for name in names}
    packages = {"marsys", "serving", "api_service", "local_inference_service"}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == packages
    assert "marsys/py.typed" in names
    assert not [name for name in names if name.endswith((".pyc", ".proto", ".so", ".env"))]
    # Whatever the client imports is in it.
    count, foreign = loaded_by("import marsys.models, marsys.models.fallback", wheel)
    assert "marsys" in foreign
    assert count < 600
