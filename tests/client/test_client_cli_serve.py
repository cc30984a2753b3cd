"""`marsys serve`, with stand-ins for the services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = """
import os, signal, sys, time
def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())  # in one piece: two processes share the pipe
def stop(number, frame):
    say("stopped by", signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
say(__spec__.name.split(".")[0], *sys.argv[1:])
if "--fail" in sys.argv:
    sys.exit(7)
time.sleep(60)
"""


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch) -> dict[str, str]:
    for name in ("api_service", "local_inference_service"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "__main__.py").write_text(STAND_IN)
    for name in ("torch", "transformers", "aiohttp", "grpc_health", "pydantic_settings"):
        (tmp_path / f"{name}.py").touch()
    paths = [str(Path(path).resolve()) for path in sys.path if path]
    monkeypatch.chdir(tmp_path)  # what lies here is imported before the real ones
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *paths])}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_all_hands_signals_on(stand_ins, number):
    command = [sys.executable, "-m", "marsys.cli", "serve", "all", "--api-address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--model", "tiny", "--", "--log-level", "debug"],
        env=stand_ins,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    started = sorted([process.stdout.readline().strip(), process.stdout.readline().strip()])
    assert started == [
        "api_service --address 127.0.0.1:0 --log-level debug",
        "local_inference_service --model tiny --log-level debug",
    ]
    process.send_signal(number)
    assert process.stdout.read().splitlines() == [f"stopped by {number.name}"] * 2
    assert process.wait(30) == 0


def test_serve_passes_on_the_exit_status(stand_ins):
    result = subprocess.run(
        [sys.executable, "-m", "marsys.cli", "serve", "local", "--", "--fail"],
        env=stand_ins,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 7
    assert result.stdout == "local_inference_service --fail\n"


def test_when_one_service_ends_so_does_the_other(stand_ins, tmp_path):
    (tmp_path / "api_service" / "__main__.py").write_text("import sys; sys.exit(3)")
    result = subprocess.run(
        [sys.executable, "-m", "marsys.cli", "serve", "all"],
        env=stand_ins,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 3


def test_serve_names_the_missing_extra(tmp_path):
    hidden = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'aiohttp' else real(name)\n"
        "sys.argv = ['marsys', 'serve', 'api']\n"
        "from marsys.cli import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "pip install 'marsys-models[api]'" in result.stderr
