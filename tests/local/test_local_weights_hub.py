"""Models from a hub: bytes that are told, copies that are whole, and hubs that can't be reached."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from local_pool_bench import load, refused

from local_inference_service.hub import fetch_model
from local_inference_service.progress import LoadError
from marsys.v1 import ErrorReason, LoadStage

NAME = "organisation/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DOWNLOADING = LoadStage.LOAD_STAGE_DOWNLOADING


class Hub(ThreadingHTTPServer):
    """What huggingface_hub asks of a hub for one model."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {file.name: file.read_bytes() for file in directory.iterdir()}
        self.files["pytorch_model.bin"] = b"pickled"
        self.sent: list[str] = []
        self.broken: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith(f"/api/models/{NAME}/tree/"):
            self._json([self._entry(each) for each in self.server.files])
        elif path.startswith(f"/api/models/{NAME}"):
            siblings = [{"rfilename": each} for each in self.server.files]
            self._json({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/{NAME}/resolve/") and name in self.server.files:
            self._file(name)
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _entry(self, name: str) -> dict[str, Any]:
        data = self.server.files[name]
        oid = hashlib.sha1(data).hexdigest()
        return {"type": "file", "path": name, "size": len(data), "oid": oid}

    def _file(self, name: str) -> None:
        if name == self.server.broken:
            self._answer(403, b"", {})
            return
        data = self.server.files[name]
        if self.command == "GET":
            self.server.sent.append(name)
        tag = hashlib.sha1(data).hexdigest()
        self._answer(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *given: Any) -> None:
        return


@pytest.fixture
def hub(tiny_directory, tmp_path, monkeypatch) -> Iterator[Hub]:
    hub = Hub(tiny_directory)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", _template(hub.url))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield hub
    hub.shutdown()
    hub.server_close()


def _template(url: str) -> str:
    return url + "/{repo_id}/resolve/{revision}/{filename}"


class Steps(list[Any]):
    def __call__(self, *step: Any) -> None:
        self.append(step)


def test_the_bytes_of_a_download_are_told(hub):
    steps = Steps()
    directory = Path(fetch_model(NAME, None, steps))
    wanted = {name: data for name, data in hub.files.items() if name != "pytorch_model.bin"}
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == wanted
    assert all(stage == DOWNLOADING for stage, _, _ in steps)
    told = [(done, total) for _, done, total in steps if total is not None]
    size = sum(len(data) for data in wanted.values())
    assert {total for _, total in told} == {size}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0][0] == 0
    assert told[-1][0] == size
    assert len({done for done, _ in told}) > 2


def test_a_whole_copy_is_taken_without_the_hub(hub):
    first = fetch_model(NAME, None, Steps())
    hub.shutdown()
    steps = Steps()
    assert fetch_model(NAME, None, steps) == first
    assert fetch_model(NAME, "main", steps) == first
    assert fetch_model(NAME, COMMIT, steps) == first
    assert steps == []


def test_a_download_that_broke_off_is_completed(hub):
    hub.broken = "model.safetensors"
    with pytest.raises(LoadError, match="can't be fetched from the hub"):
        fetch_model(NAME, None, Steps())
    hub.broken = None
    before = list(hub.sent)
    directory = Path(fetch_model(NAME, None, Steps()))
    assert (directory / "model.safetensors").is_file()
    assert "model.safetensors" not in before
    assert hub.sent.count("tokenizer.json") == 1  # what was there isn't fetched again


async def test_a_copy_whose_weights_are_cut_short_is_named(hub, serve):
    directory = Path(fetch_model(NAME, None, Steps()))
    weights = (directory / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:100])
    bench = await serve(model="none")
    error = await refused(load(bench, NAME))
    assert "model.safetensors is cut short" in error.message


def test_a_model_that_the_hub_does_not_have(hub):
    with pytest.raises(LoadError, match="can't be fetched from the hub"):
        fetch_model("organisation/other", None, Steps())


async def test_loading_from_a_hub(hub, serve, ask):
    bench = await serve(model="none")
    steps = await load(bench, NAME)
    stages = [step.stage for step in steps]
    assert stages == sorted(stages)
    assert stages[-1] == LoadStage.LOAD_STAGE_READY
    downloading = [step for step in steps if step.stage == DOWNLOADING]
    assert downloading[-1].completed_bytes == downloading[-1].total_bytes > 0
    assert steps[-1].model.name == NAME
    assert (await bench.inference.Generate(ask("hi", NAME, max_tokens=2))).model == NAME


async def test_a_hub_that_cannot_be_reached(hub, serve):
    hub.shutdown()
    hub.server_close()
    bench = await serve(model="none")
    error = await refused(load(bench, NAME))
    assert error.reason == ErrorReason.ERROR_REASON_MODEL_LOAD_FAILED
    assert "can't be fetched from the hub" in error.message
