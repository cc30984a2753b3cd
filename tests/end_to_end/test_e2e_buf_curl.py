"""`buf curl` gets answers through reflection, with no stub of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUF = shutil.which("buf", path=str(Path(sys.executable).parent))


def buf_curl(address: str, method: str, body: dict) -> dict:
    assert BUF, "buf-bin is not installed"
    url = f"http://{address}/marsys.v1.{method}"
    options = ["--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(body)]
    result = subprocess.run(
        [BUF, "curl", *options, url], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("which", ["local", "api"])
def test_the_same_body_but_for_the_model(which, request, make_service, embedded_model):
    if which == "local":
        address, model = request.getfixturevalue("local_service").address, embedded_model
    else:
        upstream = request.getfixturevalue("upstream")
        directory = request.getfixturevalue("embedded_directory")
        provider = {"MARSYS_API_PROVIDERS__HOUSE__BASE_URL": upstream}
        address = make_service("api_service", **provider).wait_ready().address
        model = f"house/{directory}"
    question = {"text": {"text": "What is the capital of France?"}}
    body = {
        "model": model,
        "messages": [{"role": "ROLE_USER", "parts": [question]}],
        "config": {"temperature": 0, "max_tokens": 40},
    }
    answer = buf_curl(address, "InferenceService/Generate", body)
    assert "Paris" in answer["message"]["parts"][0]["text"]["text"]
    assert answer["finishReason"] == "FINISH_REASON_STOP"
    models = buf_curl(address, "ModelService/ListModels", {}).get("models", [])
    # `transformers serve` lists the hub's cache, which holds no model here.
    assert [model["name"] for model in models] == ([embedded_model] if which == "local" else [])
