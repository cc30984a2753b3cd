"""The least that a gRPC relay in Python must do:
`python relay.py aiohttp|httpx UPSTREAM ADDRESS_FILE [--coalesce]`.

It speaks the same contract, for one text message: GenerateRequest -> Chat Completions body, answer
-> GenerateResponse, stream -> events. It checks nothing, retries nothing, handles no error, has no
timers, and knows text only. A stream is relayed as naive relays do it, a message for every event of
the provider; with --coalesce, all events of one socket read are one message.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import orjson
import uvloop

from marsys.v1 import (
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    GenerationFinished,
    GenerationStarted,
    Message,
    Part,
    PartDelta,
    PartFinished,
    PartStarted,
    Role,
    StreamEvent,
    StreamGenerateRequest,
    StreamGenerateResponse,
    TextPart,
    Usage,
)
from marsys.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)

_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer k"}


class Answer:
    """What the provider answers: whole, or piece by piece as the socket brings it."""

    def __init__(self, read: Callable[[], Any], pieces: Callable[[], AsyncIterator[bytes]]) -> None:
        self.read = read
        self.pieces = pieces


class Aiohttp:
    def __init__(self) -> None:
        import aiohttp

        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    @asynccontextmanager
    async def post(self, url: str, body: bytes) -> AsyncIterator[Answer]:
        async with self._session.post(url, data=body, headers=_HEADERS) as response:
            yield Answer(response.read, response.content.iter_any)


class Httpx:
    def __init__(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx.AsyncClient(limits=limits, timeout=60)

    @asynccontextmanager
    async def post(self, url: str, body: bytes) -> AsyncIterator[Answer]:
        async with self._client.stream("POST", url, content=body, headers=_HEADERS) as response:
            yield Answer(response.aread, response.aiter_bytes)


class Relay(InferenceServiceServicer):
    def __init__(self, http: Aiohttp | Httpx, upstream: str, coalesce: bool) -> None:
        self._http = http
        self._upstream = upstream
        self._coalesce = coalesce

    def _send(self, request: GenerateRequest, stream: bool) -> Any:
        mode, _, model = request.model.partition("/")
        roles = {Role.ROLE_USER: "user", Role.ROLE_SYSTEM: "system"}
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": roles[message.role], "content": message.parts[0].text.text}
                for message in request.messages
            ],
            "max_tokens": request.config.max_tokens or 8192,
        }
        if request.config.HasField("temperature"):
            body["temperature"] = request.config.temperature
        if stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        return self._http.post(f"{self._upstream}/{mode}/v1/chat/completions", orjson.dumps(body))

    async def Generate(self, request: GenerateRequest, context: Any) -> GenerateResponse:
        async with self._send(request, stream=False) as response:
            answer = orjson.loads(await response.read())
        text = answer["choices"][0]["message"]["content"]
        return GenerateResponse(
            response_id=answer["id"],
            model=answer["model"],
            provider="relay",
            message=Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=TextPart(text=text))]),
            finish_reason=FinishReason.FINISH_REASON_STOP,
            raw_finish_reason=answer["choices"][0]["finish_reason"],
            usage=_usage(answer["usage"]),
        )

    async def StreamGenerate(
        self, request: StreamGenerateRequest, context: Any
    ) -> AsyncIterator[StreamGenerateResponse]:
        sequence, texts, usage, tail = 0, [], None, b""

        def numbered(**event: Any) -> StreamEvent:
            nonlocal sequence
            sequence += 1
            return StreamEvent(sequence=sequence - 1, **event)

        async with self._send(request.request, stream=True) as response:
            async for data in response.pieces():
                *lines, tail = (tail + data).split(b"\n")
                events = []
                for line in lines:
                    if not line.startswith(b"data: ") or line == b"data: [DONE]":
                        continue
                    chunk = orjson.loads(line[6:])
                    usage = chunk.get("usage") or usage
                    if not sequence:
                        started = GenerationStarted(response_id=chunk["id"], model=chunk["model"])
                        events.append(numbered(started=started))
                        events.append(
                            numbered(part_started=PartStarted(part=Part(text=TextPart())))
                        )
                    for choice in chunk["choices"]:
                        if text := choice["delta"].get("content"):
                            texts.append(text)
                            events.append(numbered(part_delta=PartDelta(text=text)))
                    if not self._coalesce and events:
                        yield StreamGenerateResponse(events=events)
                        events = []
                if events:
                    yield StreamGenerateResponse(events=events)
        part = Part(text=TextPart(text="".join(texts)))
        finished = GenerationFinished(
            finish_reason=FinishReason.FINISH_REASON_STOP, usage=_usage(usage)
        )
        yield StreamGenerateResponse(
            events=[
                numbered(part_finished=PartFinished(part=part)),
                numbered(finished=finished),
            ]
        )


def _usage(usage: Any) -> Usage:
    return Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
    )


async def serve(http: str, upstream: str, address_file: str, coalesce: bool) -> None:
    server = grpc.aio.server()
    relay = Relay(Aiohttp() if http == "aiohttp" else Httpx(), upstream, coalesce)
    add_InferenceServiceServicer_to_server(relay, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    Path(address_file).write_text(f"127.0.0.1:{port}")  # noqa: ASYNC240
    await server.wait_for_termination()


if __name__ == "__main__":
    http, upstream, address_file, *options = sys.argv[1:]
    uvloop.run(serve(http, upstream, address_file, "--coalesce" in options))
