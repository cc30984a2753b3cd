"""The templates of stubs (buf.gen.LANGUAGE.yaml), as far as their plugins are here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from language_examples import EXAMPLES, PATH, ROOT

TEMPLATES = sorted(ROOT.glob("buf.gen.*.yaml"))
_PLUGIN = re.compile(r"- (local|protoc_builtin): (\S+)")
JAVA_SINCE = 22  # protoc's release


def searched() -> str:
    """PATH with npm's plugins, where an example that was built has them."""
    installed = (str(path) for path in EXAMPLES.glob("*/node_modules/.bin"))
    return os.pathsep.join([*installed, PATH])


def skip_without_plugins(template: Path) -> None:
    for kind, plugin in _PLUGIN.findall(template.read_text()):
        program = plugin if kind == "local" else "protoc"
        if shutil.which(program, path=searched()) is None:
            pytest.skip(f"{program} is not installed")
        if (kind, plugin) == ("protoc_builtin", "java"):
            told = subprocess.run(
                ["protoc", "--version"], capture_output=True, text=True, check=True
            )
            version = told.stdout.split()[-1].removeprefix("3.")
            if int(version.split(".")[0]) < JAVA_SINCE:
                pytest.skip(f"protoc is {version}, Java's stubs want {JAVA_SINCE} or later")


def test_there_is_one_for_every_language_of_the_documents() -> None:
    told = (ROOT / "docs" / "languages.md").read_text()
    assert set(re.findall(r"buf\.gen\.[\w-]+\.yaml", told)) == {path.name for path in TEMPLATES}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_it_makes_stubs_of_all_services(template: Path, tmp_path: Path) -> None:
    skip_without_plugins(template)
    command = ["buf", "generate", "--template", str(template), "--output", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": searched()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    for service in ("InferenceService", "ModelService", "OAuthService"):
        assert service in made
    assert "StreamGenerate" in made
