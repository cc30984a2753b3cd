"""Calls from Python, by the client or by the bare generated stub:
`client_caller.py stub|client sync|async call|stream ADDRESS WAY CONCURRENCY CALLS`.

Prints the CPU seconds of the calls as JSON, without the start and the first calls. Both sides get
the same messages as dicts and read the same: the text of the answer, or of each delta.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from bench.calls import CHUNKS, openai_body
from marsys.models import BaseAPIModel
from marsys.v1 import (
    GenerateRequest,
    GenerationConfig,
    Message,
    Part,
    Role,
    StreamGenerateRequest,
    TextPart,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub

_BODY = openai_body("bench-model", stream=False)
_ROLES = {"system": Role.ROLE_SYSTEM, "user": Role.ROLE_USER}


class Stub:
    """What somebody would write by hand with the generated stub."""

    def __init__(self, address: str, way: str, in_loop: bool) -> None:
        connect = grpc.aio.insecure_channel if in_loop else grpc.insecure_channel
        self._stub = InferenceServiceStub(connect(address))
        self._model = f"{way}/bench-model"

    def _request(self) -> GenerateRequest:
        return GenerateRequest(
            model=self._model,
            messages=[
                Message(
                    role=_ROLES[message["role"]],
                    parts=[Part(text=TextPart(text=message["content"]))],
                )
                for message in _BODY["messages"]
            ],
            config=GenerationConfig(
                max_tokens=_BODY["max_tokens"], temperature=_BODY["temperature"]
            ),
        )

    def call(self) -> str:
        return str(self._stub.Generate(self._request()).message.parts[0].text.text)

    async def acall(self) -> str:
        answer = await self._stub.Generate(self._request())
        return str(answer.message.parts[0].text.text)

    def stream(self) -> list[str]:
        request = StreamGenerateRequest(request=self._request())
        return [
            event.part_delta.text
            for response in self._stub.StreamGenerate(request)
            for event in response.events
            if event.HasField("part_delta")
        ]

    async def astream(self) -> list[str]:
        request = StreamGenerateRequest(request=self._request())
        return [
            event.part_delta.text
            async for response in self._stub.StreamGenerate(request)
            for event in response.events
            if event.HasField("part_delta")
        ]


class Client:
    """The same with the Python client."""

    def __init__(self, address: str, way: str, in_loop: bool) -> None:
        self._model = BaseAPIModel(
            None,
            f"{way}/bench-model",
            target=address,
            max_tokens=_BODY["max_tokens"],
            temperature=_BODY["temperature"],
        )
        self._messages = _BODY["messages"]

    def call(self) -> str:
        return str(self._model.run(self._messages)["content"])

    async def acall(self) -> str:
        return str((await self._model.arun(self._messages))["content"])

    def stream(self) -> list[str]:
        return [chunk["content"] for chunk in self._model.stream(self._messages)]

    async def astream(self) -> list[str]:
        return [chunk["content"] async for chunk in self._model.stream(self._messages)]


def check(answer: str | list[str]) -> None:
    if isinstance(answer, str):
        whole = answer.count("The quick") == 12
    else:
        whole = "".join(answer).count(" token") == CHUNKS
    if not whole:
        raise RuntimeError(f"not the whole answer: {answer!r:.500}")


def measure_sync(ask: Callable[[], Any], calls: int) -> float:
    for _ in range(max(calls // 10, 1)):
        check(ask())
    begun = time.process_time()
    for _ in range(calls):
        check(ask())
    return time.process_time() - begun


async def measure_async(ask: Callable[[], Awaitable[Any]], concurrency: int, calls: int) -> float:
    async def caller(left: Any) -> None:
        for _ in left:
            check(await ask())

    async def load(count: int) -> None:
        left = iter(range(count))
        await asyncio.gather(*(caller(left) for _ in range(concurrency)))

    await load(max(calls // 10, concurrency))
    begun = time.process_time()
    await load(calls)
    return time.process_time() - begun


async def measure_in_loop(
    kind: type[Stub] | type[Client], what: str, address: str, way: str, concurrency: int, calls: int
) -> float:
    subject = kind(address, way, in_loop=True)
    ask = subject.astream if what == "stream" else subject.acall
    return await measure_async(ask, concurrency, calls)


def main(
    who: str, how: str, what: str, address: str, way: str, concurrency: int, calls: int
) -> float:
    kind = Client if who == "client" else Stub
    if how == "async":
        return asyncio.run(measure_in_loop(kind, what, address, way, concurrency, calls))
    subject = kind(address, way, in_loop=False)
    return measure_sync(subject.stream if what == "stream" else subject.call, calls)


if __name__ == "__main__":
    *words, concurrency, calls = sys.argv[1:]
    print(json.dumps(main(*words, int(concurrency), int(calls))))
