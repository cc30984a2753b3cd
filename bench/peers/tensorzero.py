"""TensorZero's gateway, in Rust.

Its own binary is not on PyPI, but the Python package holds the same gateway as a library, and can
start its HTTP server in the process (as its `patch_openai_client` does).
"""

from __future__ import annotations

from pathlib import Path

from bench.calls import WAYS, http_call
from bench.load import Call
from bench.peers.installs import in_venv, python
from bench.peers.peer import Setup
from bench.peers.server import Command, ServerPeer

_REQUIREMENT = "tensorzero>=2026.1,<2027"
_PROGRAM = Path(__file__).parents[1] / "programs/tensorzero_gateway.py"
_GATEWAY = "[gateway]\nobservability.enabled = false\n"
_MODEL = """
[models.{way}]
routing = ["bench"]
[models.{way}.providers.bench]
type = "openai"
model_name = "bench-model"
api_base = "{base_url}"
api_key_location = "none"
"""


def _version(installs: Path) -> str:
    return in_venv(installs / "tensorzero", _REQUIREMENT, "tensorzero")


def _command(setup: Setup) -> Command:
    config = setup.folder / "tensorzero.toml"
    models = (_MODEL.format(way=way, base_url=setup.upstream.base_url(way)) for way in WAYS)
    config.write_text(_GATEWAY + "".join(models))
    return Command(
        [python(setup.installs / "tensorzero"), str(_PROGRAM), str(config),
         str(setup.folder / "address")]
    )  # fmt: skip


def _call(way: str, stream: bool) -> Call:
    return http_call("/openai/v1/chat/completions", f"tensorzero::model_name::{way}", stream)


TENSORZERO = ServerPeer("tensorzero", "TensorZero (Rust)", _version, _command, _call)
