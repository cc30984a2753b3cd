"""The committed stubs are those of proto/, and load on the oldest runtime that is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "generate_stubs.py"

LOAD = """
import google.protobuf, grpc, marsys.v1
from marsys.v1 import inference_service_pb2_grpc, model_service_pb2_grpc, oauth_service_pb2_grpc
print(google.protobuf.__version__, grpc.__version__)
"""


@pytest.mark.slow
def test_the_stubs_are_those_of_the_contract():
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_the_stubs_load_with_the_oldest_protobuf_and_grpc():
    subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, check=False)
    old = ROOT / ".venv-proto" / "bin" / "python"  # the generator's, as old as its stubs
    result = subprocess.run(
        [str(old), "-W", "error", "-c", LOAD],
        env={"PYTHONPATH": str(ROOT / "client")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split() == ["6.31.1", "1.75.1"], result.stderr


def test_the_stubs_load_with_the_installed_protobuf_and_grpc():
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD],
        env={"PYTHONPATH": str(ROOT / "client")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_provider_keys_are_marked_for_redaction():
    from marsys.v1 import ProviderTarget

    secrets = [f.name for f in ProviderTarget.DESCRIPTOR.fields if f.GetOptions().debug_redact]
    assert secrets == ["api_key"]
