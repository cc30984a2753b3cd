"""Peers' installations: each in a folder of its own, made once."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import venv
from pathlib import Path


def in_venv(folder: Path, requirement: str, *packages: str) -> str:
    """Install a requirement from PyPI in a virtual environment at the folder.

    Returns:
        The versions of these packages in it, in words.

    Raises:
        RuntimeError: pip failed.
    """
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != requirement:
        print(f"installing {requirement} in {folder} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        _run(str(folder / "bin/python"), "-m", "pip", "install", "-q", requirement)
        stamp.write_text(requirement)
    code = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(n, m.version(n))"
    said = _run(str(folder / "bin/python"), "-c", code, *packages)
    return ", ".join(said.split("\n"))


def from_npm(folder: Path, package: str, version: str) -> str:
    """Install a package from npm at the folder. Gives its version and Node's, in words.

    Raises:
        RuntimeError: npm failed, or is not here.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("npm is not here")
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != version:
        print(f"installing {package}@{version} in {folder} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run("npm", "install", "--silent", "--prefix", str(folder), f"{package}@{version}")
        stamp.write_text(version)
    return f"{package} {version}, Node.js {_run('node', '--version')}"


def of_this_environment(*packages: str) -> str:
    """The versions of packages of the environment that runs the suite, in words."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return ", ".join((f"Python {platform.python_version()}", *versions))


def python(folder: Path) -> str:
    """The interpreter of a virtual environment."""
    return str(folder / "bin/python")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()[-1500:]}")
    return done.stdout.strip()
