"""The services as processes, the embedded model, and servers that we did not write."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from e2e_services import Service, wait_until

from local_inference_service.embedded import EMBEDDED_MODEL, ensure_embedded_model
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceStub

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def embedded_directory() -> Path:
    return ensure_embedded_model(lambda *progress: None)


@pytest.fixture(scope="session")
def local_service(scratch: Path, embedded_directory: Path) -> Iterator[Service]:
    service = Service("local_inference_service", scratch / "local")
    yield service.wait_ready()
    service.stop()


@pytest.fixture(scope="session")
def upstream(scratch: Path, embedded_directory: Path) -> Iterator[str]:
    """Base URL of `transformers serve`, an OpenAI-compatible server, on the embedded model."""
    program = shutil.which("transformers", path=str(Path(sys.executable).parent))
    assert program, "transformers is not installed"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "serve", str(embedded_directory), "--dtype", "float32"]
    log = (scratch / "transformers-serve.log").open("wb")
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=log,
        stderr=log,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )

    def answers() -> bool:
        assert process.poll() is None, (scratch / "transformers-serve.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answers, 180, 0.5)
    yield f"http://127.0.0.1:{port}/v1"
    process.kill()  # it would first finish what its callers have left
    process.wait(30)


@pytest.fixture(scope="session")
def api_service(scratch: Path) -> Iterator[Service]:
    """api_service without keys; callers on this machine may choose the base URL."""
    service = Service("api_service", scratch / "api")
    yield service.wait_ready()
    service.stop()


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(module: str, *arguments: str, **environment: str) -> Service:
        folder = tmp_path / f"service-{len(services)}"
        services.append(Service(module, folder, *arguments, environment=environment))
        return services[-1]

    yield make
    for service in services:
        service.stop()


class Stubs:
    """Bare generated stubs on a plain channel."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=UNLIMITED)
        self.inference: Any = InferenceServiceStub(self.channel)
        self.models: Any = ModelServiceStub(self.channel)


@pytest.fixture
def stubs_of() -> Iterator[Callable[[Service], Stubs]]:
    made: list[Stubs] = []

    def make(service: Service) -> Stubs:
        made.append(Stubs(service.address))
        return made[-1]

    yield make
    for stubs in made:
        stubs.channel.close()


@pytest.fixture(scope="session")
def embedded_model() -> str:
    return EMBEDDED_MODEL
