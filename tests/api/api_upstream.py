"""A scripted upstream, the answers that it can give, and a client of api_service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf import json_format

from marsys.rpc.status import from_rpc_error
from marsys.stream import fold
from marsys.v1 import (
    GenerateRequest,
    GenerateResponse,
    ModelError,
    StreamEvent,
    StreamGenerateRequest,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceStub

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """A request that the upstream got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Upstream:
    """An HTTP server that answers what it was told, in turn; the last answer stays.

    Attributes:
        seen: the requests, in order.
        closed: set when a caller closed its connection before the answer's end.
        reached: set when a request has come.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def script(self, *answers: Answer) -> None:
        self.answers = list(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.seen.append(Seen(request.method, request.path, request.headers.copy(), body))
        self.reached.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            return await answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.closed.set()
            raise


def reply(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """A whole answer: JSON, or bytes as they are."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


def sse(*chunks: Any, then: str = "end") -> Answer:
    """A stream of events: objects become `data:` lines, bytes go as they are.

    Args:
        chunks: what is sent.
        then: "end", "hang", or "drop" (the connection breaks).
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            data = (
                chunk if isinstance(chunk, bytes) else b"data: %s\n\n" % json.dumps(chunk).encode()
            )
            await response.write(data)
        if then == "hang":
            await asyncio.sleep(600)
        elif then == "drop":
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


async def hang(request: web.Request) -> web.StreamResponse:
    """No answer at all."""
    await asyncio.sleep(600)
    raise AssertionError("nobody waits that long")


def completion(text: str = "Paris.", **extra: Any) -> dict[str, Any]:
    """A whole answer with one text."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "some-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        **extra,
    }


def delta(content: str | None = None, finish: str | None = None, **keys: Any) -> dict[str, Any]:
    """A chunk of a stream."""
    change = keys if content is None else {"content": content, **keys}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "some-model",
        "choices": [{"index": 0, "delta": change, "finish_reason": finish}],
    }


DONE = b"data: [DONE]\n\n"


def ask(model: str = "openrouter/some-model", text: str = "Hi", **fields: Any) -> GenerateRequest:
    """A request with one user message; further fields as in proto JSON."""
    message = {"role": "ROLE_USER", "parts": [{"text": {"text": text}}]}
    return json_format.ParseDict(
        {"model": model, "messages": [message], **fields}, GenerateRequest()
    )


class Caller:
    """A client of the service."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self.address = address
        self.inference = InferenceServiceStub(channel)
        self.models = ModelServiceStub(channel)

    async def generate(self, request: GenerateRequest, **options: Any) -> GenerateResponse:
        return await self.inference.Generate(request, timeout=options.pop("timeout", 30), **options)

    async def stream(self, request: GenerateRequest, **options: Any) -> list[StreamEvent]:
        call = self.inference.StreamGenerate(
            StreamGenerateRequest(request=request), timeout=options.pop("timeout", 30), **options
        )
        return [event async for response in call for event in response.events]

    async def either(
        self, request: GenerateRequest, stream: bool, **options: Any
    ) -> GenerateResponse:
        if stream:
            return fold(await self.stream(request, **options))
        return await self.generate(request, **options)

    async def failure(
        self, request: GenerateRequest, stream: bool = False, **options: Any
    ) -> ModelError:
        """The error with which the call must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.either(request, stream, **options)
        return from_rpc_error(caught.value)


Serve = Callable[..., Awaitable[Caller]]
