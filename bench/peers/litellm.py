"""LiteLLM's proxy, set as its page on production says: one worker, no database, no callbacks."""

from __future__ import annotations

import json
from pathlib import Path

from bench.calls import WAYS, http_call
from bench.load import Call
from bench.peers.installs import in_venv, python
from bench.peers.peer import Setup
from bench.peers.server import Command, ServerPeer, free_address

_REQUIREMENT = "litellm[proxy]>=1.100,<2"
_KEY = "sk-" + "0123456789abcdef" * 4  # it refuses to start without a key that looks strong
_ENVIRONMENT = {
    "LITELLM_MASTER_KEY": _KEY,
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches prices at its start
    "DISABLE_ADMIN_UI": "True",
}


def _version(installs: Path) -> str:
    return in_venv(installs / "litellm", _REQUIREMENT, "litellm", "uvicorn", "aiohttp")


def _command(setup: Setup) -> Command:
    models = [
        {
            "model_name": way,
            "litellm_params": {
                "model": "openai/bench-model",
                "api_base": setup.upstream.base_url(way),
                "api_key": "bench-key",
            },
        }
        for way in WAYS
    ]
    settings = {"set_verbose": False, "telemetry": False}
    config = setup.folder / "config.yaml"  # JSON is YAML
    config.write_text(json.dumps({"model_list": models, "litellm_settings": settings}))
    address = free_address()
    folder = setup.installs / "litellm"
    return Command(
        [python(folder), str(folder / "bin/litellm"), "--config", str(config), "--host",
         "127.0.0.1", "--port", address.rpartition(":")[2], "--num_workers", "1"],
        _ENVIRONMENT,
        address,
        setup.folder,
    )  # fmt: skip


def _call(way: str, stream: bool) -> Call:
    return http_call("/v1/chat/completions", way, stream, f"Authorization: Bearer {_KEY}")


LITELLM = ServerPeer("litellm", "LiteLLM proxy", _version, _command, _call)
