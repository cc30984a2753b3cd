"""The openai SDK in the caller's own process: no proxy at all."""

from __future__ import annotations

from pathlib import Path

from bench.peers.installs import in_venv, python
from bench.peers.peer import Setup
from bench.peers.program import ProgramPeer

_REQUIREMENT = "openai>=3.50,<4"
_PROGRAM = Path(__file__).parents[1] / "programs/openai_caller.py"


def _version(installs: Path) -> str:
    return in_venv(installs / "openai", _REQUIREMENT, "openai")


def _command(setup: Setup) -> list[str]:
    return [python(setup.installs / "openai"), str(_PROGRAM)]


OPENAI_SDK = ProgramPeer("openai_sdk", "openai SDK in process (no proxy)", _version, _command)
