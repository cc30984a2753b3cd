"""The peer: the least that a grpc.aio + aiohttp relay must do. `python relay.py UPSTREAM`

It speaks the same contract, for one text message: GenerateRequest -> Chat Completions body, answer
-> GenerateResponse, stream -> events. It checks nothing, retries nothing, handles no error, has no
timers, and knows text only. A stream is relayed as naive relays do it, a message for every event of
the provider; with metadata `coalesce`, all events of one socket read are one message.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
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


class Relay(InferenceServiceServicer):
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

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
        return self._session.post(
            f"{self._upstream}/{mode}/v1/chat/completions",
            data=orjson.dumps(body),
            headers=_HEADERS,
        )

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
        coalesce = any(key == "coalesce" for key, _ in context.invocation_metadata())
        sequence, texts, usage, tail = 0, [], None, b""

        def numbered(**event: Any) -> StreamEvent:
            nonlocal sequence
            sequence += 1
            return StreamEvent(sequence=sequence - 1, **event)

        async with self._send(request.request, stream=True) as response:
            async for data in response.content.iter_any():
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
                    if not coalesce and events:
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


async def serve(upstream: str) -> None:
    server = grpc.aio.server()
    add_InferenceServiceServicer_to_server(Relay(upstream), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(serve(sys.argv[1]))
