"""The examples of other languages: how they are built and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
OLDEST_NODE = 20
DEBIAN_PACKAGES = ("g++", "cmake", "pkg-config", "protoc", "grpc_cpp_plugin")
# buf of the `test` extra, for what calls it by name.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@dataclass(frozen=True)
class Example:
    """An example that is built.

    Attributes:
        name: its folder.
        command: how it is started, but for its arguments.
    """

    name: str
    command: tuple[str, ...]

    def run(self, address: str, model: str, *demos: str, token: str = "") -> Run:
        """Run demos (default: all) against a service; `token` is what that asks of callers."""
        done = subprocess.run(
            [*self.command, address, model, *demos],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, "MARSYS_TOKEN": token},
        )
        return Run(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Run:
    """How a run of an example ended, and what it printed."""

    code: int
    out: str
    err: str

    def demo(self, name: str) -> list[str]:
        """The lines that a demo printed."""
        _, _, rest = self.out.partition(f"== {name}\n")
        assert rest, f"{name} did not run:\n{self.out}{self.err}"
        return rest.partition("\n== ")[0].splitlines()


def build_node(name: str) -> Example:
    """Install an example's packages as its lock file says, generate its stubs and compile it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("Node.js and npm are not installed")
    version = _checked([node, "--version"], EXAMPLES).strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js is {version}, the example wants {OLDEST_NODE} or later")
    folder = EXAMPLES / name
    _checked([npm, "ci", "--no-audit", "--no-fund"], folder)
    _checked([npm, "run", "build"], folder)
    return Example(name, (node, str(folder / "dist" / "src" / "main.js")))


def build_cpp(name: str) -> Example:
    """Generate an example's stubs and compile it."""
    missing = [tool for tool in DEBIAN_PACKAGES if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    known = subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False)
    if known.returncode != 0:
        pytest.skip("libgrpc++-dev is not installed")
    folder = EXAMPLES / name
    python = f"-DPython3_EXECUTABLE={sys.executable}"
    _checked(["cmake", "-S", ".", "-B", "build", python], folder)
    _checked(["cmake", "--build", "build", "--parallel", "2"], folder)
    return Example(name, (str(folder / "build" / "marsys-example"),))


BUILDS: dict[str, Callable[[str], Example]] = {
    "node-grpc-js": build_node,
    "node-connect": build_node,
    "cpp": build_cpp,
}


def _checked(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "PATH": PATH},
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout
