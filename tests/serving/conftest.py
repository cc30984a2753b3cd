"""A real server on a real socket over a small service that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import pytest

from marsys.v1 import (
    CountTokensResponse,
    FinishReason,
    GenerateRequest,
    Message,
    Part,
    Role,
    StreamEvent,
    TextPart,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.server import RunningServer, start_server
from serving.settings import ServerSettings


class EchoGenerator:
    """Says the last message back, a word at a time.

    "wait" makes it wait until `release` is set; "fail" makes it raise an unexpected error;
    "endless" makes it leave out the terminal event.
    """

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.cancelled = 0
        self.waiting = 0

    async def generate(
        self, request: GenerateRequest, call: Call
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        words = request.messages[-1].parts[0].text.text.split()
        writer = EventWriter()
        writer.start("echo-1", request.model, "echo")
        part = writer.open("text")
        for word in words:
            writer.append(part, word + " ")
            yield writer.take()
            if word == "wait":
                await self._wait()
            if word == "fail":
                raise RuntimeError("a secret detail")
        if "endless" not in words:
            writer.finish(FinishReason.FINISH_REASON_STOP, "stop")
        yield writer.take()

    async def count_tokens(self, request: GenerateRequest, call: Call) -> CountTokensResponse:
        return CountTokensResponse(input_tokens=len(request.messages))

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1


class EchoApp:
    def __init__(self) -> None:
        self.generator = EchoGenerator()
        self.model_service = ModelServiceServicer()
        self.oauth_service = None
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.stopped = False

    async def start(self) -> None:
        await self.may_start.wait()

    async def stop(self) -> None:
        self.stopped = True


class Bench:
    """A running server with its app and a channel."""

    def __init__(self, server: RunningServer, app: EchoApp, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.app = app
        self.channel = channel
        self.stub: Any = InferenceServiceStub(channel)


@pytest.fixture
async def make_bench() -> AsyncIterator[Callable[..., Awaitable[Bench]]]:
    benches: list[Bench] = []

    async def make(app: EchoApp | None = None, **settings: Any) -> Bench:
        app = app or EchoApp()
        settings = {"address": "127.0.0.1:0", "token": None, **settings}
        server = await start_server(ServerSettings(**settings), app)
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        channel = grpc.aio.insecure_channel(server.address, options=options)
        bench = Bench(server, app, channel)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        await bench.channel.close()
        if not bench.app.stopped:
            await bench.server.stop(0.1)


@pytest.fixture
async def bench(make_bench: Callable[..., Awaitable[Bench]]) -> Bench:
    return await make_bench()


def ask(text: str, model: str = "echo") -> GenerateRequest:
    message = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=text))])
    return GenerateRequest(model=model, messages=[message])


@pytest.fixture(name="ask")
def _ask() -> Callable[..., GenerateRequest]:
    return ask


@pytest.fixture
def echo_app() -> type[EchoApp]:
    return EchoApp
