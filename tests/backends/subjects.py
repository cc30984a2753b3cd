"""A model that is asked in process or through gRPC, both ways alike."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
from loop_thread import LoopThread

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
        self._loop = LoopThread()
        self.app = LocalApp(LocalSettings(address="127.0.0.1:0", token=None, **settings))
        self.server = self._do(start_server(self.app._settings, self.app))
        self._do(self.server.ready())
        (model,) = self._do(self._models())
        self.name: str = model.name
        self.adapter: Any = self._do(self._adapter())

    def stop(self) -> None:
        self._do(self.server.stop(1))
        self._loop.end()

    def _do(self, work: Any) -> Any:
        return self._loop.do(work, 600)

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
