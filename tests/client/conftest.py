"""The scripted service on a real socket, in a thread of its own."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from client_embedded import USUAL_PORTS, Programs, Provider
from client_scripted import ScriptedService, check_health
from loop_thread import LoopThread

from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.v1 import Model, ModelState
from marsys.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from marsys.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server


@contextmanager
def listening() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    loop = LoopThread()

    async def start() -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 70 << 20)])
        add_InferenceServiceServicer_to_server(scripted, server)
        add_ModelServiceServicer_to_server(scripted, server)
        handler = grpc.unary_unary_rpc_method_handler(check_health)
        health = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
        server.add_generic_rpc_handlers((health,))
        scripted.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        return server

    server = loop.do(start())
    yield scripted
    loop.do(server.stop(0))
    loop.end()


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with listening() as scripted:
        yield scripted


@pytest.fixture
def other_service() -> Iterator[ScriptedService]:
    with listening() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "MARSYS_API_TARGET",
        "MARSYS_LOCAL_TARGET",
        "MARSYS_TOKEN",
        "MARSYS_TLS_CA_FILE",
        "MARSYS_ALLOW_PLAINTEXT",
        "OPENAI_API_KEY",
        "OPENROUTER_API_KEY",
        "ANTHROPIC_API_KEY",
        "GOOGLE_API_KEY",
        "GEMINI_API_KEY",
        "XAI_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api_model(service: ScriptedService) -> BaseAPIModel:
    return BaseAPIModel("openrouter", "vendor/model-1", target=service.address)


@pytest.fixture
def local_model(service: ScriptedService) -> BaseLocalModel:
    return BaseLocalModel("tiny", target=service.address)


@pytest.fixture
def local(service: ScriptedService) -> dict[str, str]:
    """The environment with the scripted service in the place of local_inference_service."""
    service.listed = [
        Model(name="tiny", provider="huggingface", state=ModelState.MODEL_STATE_READY),
        Model(name="big", provider="huggingface", state=ModelState.MODEL_STATE_LOADING),
    ]
    service.listed[0].context_length = 2048
    return {"MARSYS_LOCAL_TARGET": service.address}


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def programs(provider: Provider) -> Iterator[Programs]:
    for port in USUAL_PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"something listens on port {port}")
    scratch = Path(tempfile.mkdtemp(prefix="emb", dir="/tmp"))  # short, as sockets' paths must be
    made = Programs(scratch, provider)
    yield made
    made.close()
    shutil.rmtree(scratch)
