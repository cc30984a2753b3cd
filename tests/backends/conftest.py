"""Each backend with a text model and a vision-language model, in process and through gRPC.

A test that is marked model_class("taught") gets a tiny model that knows the answers of `lessons`.

A model is loaded once a run, by a real local_inference_service; tests in process use the service's
own adapter.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from lessons import make_taught_model
from tiny_models import make_tiny_vlm

from local_inference_service.embedded import ensure_embedded_model
from local_inference_service.progress import quiet
from local_inference_service.service import LocalApp
from local_inference_service.settings import LocalSettings
from marsys.rpc.status import from_rpc_error
from marsys.stream import Fold
from marsys.v1 import (
    CountTokensRequest,
    GenerateRequest,
    GenerateResponse,
    ModelError,
    StreamEvent,
    StreamGenerateRequest,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from serving.errors import ServiceError
from serving.server import start_server

CLASSES = ("llm", "vlm")
WAYS = ("in process", "grpc")
HAS_VLLM = importlib.util.find_spec("vllm") is not None  # `make test-vllm` has it
BACKENDS = ("huggingface", "vllm") if HAS_VLLM else ("huggingface",)


class Failed(Exception):
    """A call failed, whichever way it was made.

    Attributes:
        error: what the caller is told.
        code: gRPC status code.
    """

    def __init__(self, error: ModelError, code: grpc.StatusCode) -> None:
        super().__init__(error.message)
        self.error, self.code = error, code


class Service:
    """A local_inference_service with one model, on an event loop of its own."""

    def __init__(self, **settings: Any) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.app = LocalApp(LocalSettings(address="127.0.0.1:0", token=None, **settings))
        self.server = self._do(start_server(self.app._settings, self.app))
        self._do(self.server.ready())
        (model,) = self._do(self._models())
        self.name: str = model.name
        self.adapter: Any = self._do(self._adapter())

    def stop(self) -> None:
        self._do(self.server.stop(1))
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(600)

    async def _models(self) -> Any:
        return self.app.generator._pool.models()

    async def _adapter(self) -> Any:
        with self.app.generator._pool.use(self.name) as adapter:
            return adapter


@dataclass
class Subject:
    """A model, asked in one of the ways.

    Attributes:
        service: where it is.
        way: "in process" or "grpc".
    """

    service: Service
    way: str
    _channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def adapter(self) -> Any:
        return self.service.adapter

    def stub(self) -> Any:
        self._channels.append(grpc.aio.insecure_channel(self.service.server.address))
        return InferenceServiceStub(self._channels[-1])

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def stream(self, request: GenerateRequest) -> AsyncIterator[StreamEvent]:
        """The events of an answer, as they come. The request is given the model's name.

        Raises:
            Failed: the call failed.
        """
        request.model = self.name
        if self.way == "grpc":
            try:
                async for response in self.stub().StreamGenerate(
                    StreamGenerateRequest(request=request)
                ):
                    for event in response.events:
                        yield event
            except grpc.aio.AioRpcError as error:
                told = from_rpc_error(error)
                told.field = told.field.removeprefix("request.")
                raise Failed(told, error.code()) from None
            return
        sequence = 0
        try:
            async with aclosing(self.adapter.generate(request, self.name)) as batches:
                async for events in batches:
                    for event in events:
                        event.sequence = sequence
                        sequence += 1
                        yield event
        except ServiceError as error:
            raise Failed(error.error, error.code) from None

    async def ask(self, request: GenerateRequest) -> GenerateResponse:
        """The whole answer: unary through gRPC. The request is given the model's name.

        Raises:
            Failed: the call failed.
        """
        request.model = self.name
        if self.way == "grpc":
            try:
                response: GenerateResponse = await self.stub().Generate(request)
            except grpc.aio.AioRpcError as error:
                raise Failed(from_rpc_error(error), error.code()) from None
            return response
        fold = Fold()
        async with aclosing(self.stream(request)) as events:
            async for event in events:
                fold.add(event)
        return fold.result()

    async def count(self, request: GenerateRequest) -> int:
        """Tokens of a request's prompt."""
        request.model = self.name
        if self.way == "grpc":
            counted = await self.stub().CountTokens(CountTokensRequest(request=request))
            return int(counted.input_tokens)
        return int(await self.adapter.count_tokens(request, self.name))


def _directory(model_class: str, tmp: Path) -> Path:
    if model_class == "llm":
        return ensure_embedded_model(quiet)
    if model_class == "taught":
        taught = tmp / "taught"
        return taught if taught.exists() else make_taught_model(taught)
    directory = tmp / "tiny-vlm"
    if not directory.exists():
        make_tiny_vlm(directory)
    return directory


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Called with a backend and a class: their service, started where it doesn't run."""
    tmp = tmp_path_factory.mktemp("models")
    running: dict[tuple[str, str], Service] = {}

    def service(backend: str, model_class: str) -> Service:
        if (backend, model_class) in running:
            return running[backend, model_class]
        for other in [key for key in running if key[0] == backend == "vllm"]:
            running.pop(other).stop()  # two engines take much memory
        limits: dict[str, Any] = {"max_model_len": 1024} if model_class == "llm" else {}
        running[backend, model_class] = Service(
            model=str(_directory(model_class, tmp)),
            model_class="vlm" if model_class == "vlm" else "llm",
            backend=backend,
            torch_dtype="float32",
            max_active=8,
            max_queued=24,
            **limits,
        )
        return running[backend, model_class]

    yield service
    for one in running.values():
        one.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`subject` is every backend, class and way; a test's marks narrow them."""
    if "subject" not in metafunc.fixturenames:
        return

    def narrowed(mark: str, values: tuple[str, ...]) -> tuple[str, ...]:
        found = metafunc.definition.get_closest_marker(mark)
        return values if found is None else found.args

    values = [
        pytest.param(
            (backend, model_class, way),
            id=f"{backend}-{model_class}-{way.replace(' ', '-')}",
            marks=[pytest.mark.vllm] if backend == "vllm" else [],
        )
        for backend in narrowed("backend", BACKENDS)
        if backend in BACKENDS
        for model_class in narrowed("model_class", CLASSES)
        for way in narrowed("way", WAYS)
    ]
    # By session scope, pytest runs what shares an engine in a row.
    metafunc.parametrize("subject", values, indirect=True, scope="session")


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, services: Any) -> Subject:
    backend, model_class, way = request.param
    return Subject(services(backend, model_class), way)


@pytest.fixture(autouse=True)
async def _channels_closed(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    yield
    if "subject" in request.fixturenames:
        await request.getfixturevalue("subject").close()
