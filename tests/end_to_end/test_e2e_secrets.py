"""Canaries: keys and tokens that pass through appear in no log, error or output."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from marsys.agents.exceptions import ModelError
from marsys.models import BaseAPIModel, ModelConfig

HELLO = [{"role": "user", "content": "a-private-question"}]
SERVICE_KEY = "canary-service-key-1f7c"
CALLER_KEY = "canary-caller-key-93ab"
TOKEN = "canary-token-55d0"


class Tattler(ThreadingHTTPServer):
    """A provider that repeats the caller's key in its errors, as some do.

    Attributes:
        statuses: statuses of the next answers; 200 once there is none left.
        keys: the Authorization headers that came.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.keys: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Tattler

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers.get("authorization", "")
        self.server.keys.append(key)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "x", "model": "m", "choices": [choice]}
        if status != 200:
            body = {"error": {"message": f"Incorrect key {key} ({key.removeprefix('Bearer ')})"}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def tattler() -> Iterator[Tattler]:
    server = Tattler()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_no_planted_secret_is_seen(make_service, tattler, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    base_url = f"http://127.0.0.1:{tattler.server_port}/v1"
    service = make_service(
        "api_service",
        "--log-level",
        "debug",
        OPENAI_API_KEY=SERVICE_KEY,
        MARSYS_TOKEN=TOKEN,
        MARSYS_API_PROVIDERS__OPENAI__BASE_URL=base_url,
    ).wait_ready()
    seen: list[str] = []

    def call(**options: str) -> None:
        model = BaseAPIModel(
            provider="openai", model_name="gpt-4o-mini", target=service.address, **options
        )
        seen.append(repr(model))
        try:
            seen.append(str(model.run(HELLO)))
        except ModelError as error:
            seen.append(f"{error} {error!r} {error.to_dict()}")
        try:
            seen.extend(str(chunk) for chunk in model.stream(HELLO))
        except ModelError as error:
            seen.append(f"{error} {error!r} {error.to_dict()}")

    call(token=TOKEN)
    call(token=TOKEN, api_key=CALLER_KEY)
    call(token="canary-wrong-token-0")
    for status in (400, 401, 403, 404, 422):
        for options in ({}, {"api_key": CALLER_KEY}):
            tattler.statuses = [status, status]
            call(token=TOKEN, **options)
    call(token=TOKEN, base_url="http://127.0.0.1:9/v1", api_key=CALLER_KEY, timeout=2)
    config = ModelConfig(type="api", provider="openai", name="x", api_key=CALLER_KEY)
    seen.append(f"{config} {config!r}")
    tattler.statuses = [401, 401]
    command = [sys.executable, "-m", "marsys.cli", "chat", "-m", "openai/nope", "hi"]
    result = subprocess.run(
        [*command, "--target", service.address],
        env={**os.environ, "MARSYS_TOKEN": TOKEN, "OPENAI_API_KEY": CALLER_KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    seen += [result.stdout, result.stderr]
    service.stop()
    out, err = capfd.readouterr()
    everything = "\n".join([*seen, service.log(), caplog.text, out, err])
    assert "canary" not in everything
    assert "a-private-question" not in service.log()  # nor what users write
    # The keys did arrive where they belong, so the search above could have found them.
    assert {f"Bearer {SERVICE_KEY}", f"Bearer {CALLER_KEY}"} == set(tattler.keys)


@pytest.mark.parametrize("name", ["api_service", "local_inference_service"])
def test_help_shows_no_secret(name):
    result = subprocess.run(
        [sys.executable, "-m", name, "--help"],
        env={**os.environ, "MARSYS_TOKEN": TOKEN, "OPENAI_API_KEY": SERVICE_KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert "canary" not in result.stdout + result.stderr
    assert "--address" in result.stdout
