"""Generate the Python stubs of the contract into client/marsys/v1.

    python scripts/generate_stubs.py           write the stubs
    python scripts/generate_stubs.py --check   exit 1 if the committed stubs differ

The generator is older than the runtime on purpose: stubs of grpcio-tools 1.75.1 load with protobuf
6.31 through 7.x, those of newer generators demand protobuf 7. It lives in a virtual environment of
its own (.venv-proto), because it can't share one with protobuf 7.
"""

from __future__ import annotations

import argparse
import ast
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GENERATOR = (
    "grpcio-tools==1.75.1",
    "mypy-protobuf==3.7.0",
    "setuptools<81",
    # The oldest runtime that the stubs must load with; a test loads them here.
    "grpcio==1.75.1",
    "protobuf==6.31.1",
)
ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = Path("marsys/v1")
STUBS = ROOT / "client" / PACKAGE
VENV = ROOT / ".venv-proto"


def generator_python() -> Path:
    """Path of the generator's interpreter; its environment is made on first use."""
    stamp = VENV / "generator.txt"
    python = VENV / "bin" / "python"
    wanted = "\n".join(GENERATOR)
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *GENERATOR], check=True)
        stamp.write_text(wanted)
    return python


def generate(out: Path) -> None:
    """Write stubs, type stubs and the package's __init__ below `out`."""
    python = generator_python()
    protos = sorted(PROTO.glob(f"{PACKAGE}/*.proto"))
    subprocess.run(
        [
            str(python),
            "-m",
            "grpc_tools.protoc",
            f"-I{PROTO}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            *map(str, protos),
        ],
        check=True,
        env={**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    services = [path for path in protos if path.name.endswith("_service.proto")]
    subprocess.run(
        [
            str(python),
            "-m",
            "grpc_tools.protoc",
            f"-I{PROTO}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
            *map(str, services),
        ],
        check=True,
        env={**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    (out / PACKAGE / "__init__.py").write_text(facade(out / PACKAGE))


def facade(package: Path) -> str:
    """Source of the package's __init__: every message and enum under one name."""
    lines = [
        '"""The contract `marsys.v1`: every message and enum. Generated; see `make proto`."""',
        "",
    ]
    enums: list[str] = []
    for stub in sorted(package.glob("*_pb2.pyi")):
        module = f"marsys.v1.{stub.stem}"
        lines.append(f"from {module} import (")
        lines += [f"    {name} as {name}," for name in public_names(stub)]
        lines.append(")")
        enums += enum_names(stub)
    lines += [
        "",
        "# An enum looks each value up anew, which costs as much as a small message.",
        "for _enum in (",
        *(f"    {name}," for name in sorted(enums)),
        "):",
        "    vars(_enum).update(_enum.items())",
    ]
    return "\n".join(lines) + "\n"


def enum_names(stub: Path) -> list[str]:
    """Names of a type stub's enums."""
    return [
        node.name
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ClassDef) and node.keywords and not node.name.startswith("_")
    ]


def public_names(stub: Path) -> list[str]:
    """Public names of a type stub: messages, enums and enum values."""
    names = set()
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    hidden = {name for name in names if name.startswith(("_", "Global___")) or name == "DESCRIPTOR"}
    return sorted(names - hidden)


def differing(left: Path, right: Path) -> list[str]:
    """Names of the files that are missing or differ between two folders."""
    names = {p.name for side in (left, right) for p in side.iterdir() if p.is_file()}
    same, _, _ = filecmp.cmpfiles(left, right, sorted(names), shallow=False)
    return sorted(names - set(same))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if the stubs differ")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / PACKAGE
        if check:
            stale = differing(fresh, STUBS)
            if stale:
                print(f"stubs differ from proto/: {', '.join(stale)}; run `make proto`")
            return 1 if stale else 0
        STUBS.mkdir(parents=True, exist_ok=True)
        for old in STUBS.iterdir():
            if old.is_file():
                old.unlink()
        for new in fresh.iterdir():
            shutil.copy(new, STUBS / new.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
