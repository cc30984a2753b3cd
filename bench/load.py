"""The load: `python load.py ADDRESS MODEL MODE CONCURRENCY CALLS [METADATA]`, MODE unary or stream.

A raw grpc.aio client in a process of its own, whose CPU time nobody counts. Prints one JSON object:
how long it took in all, each call's seconds, messages and deltas.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc
import uvloop

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

_PROMPT = "Write a paragraph about a quick brown fox. " * 5


def _request(model: str) -> GenerateRequest:
    texts = {Role.ROLE_SYSTEM: "You are a helpful writer.", Role.ROLE_USER: _PROMPT}
    return GenerateRequest(
        model=model,
        messages=[
            Message(role=role, parts=[Part(text=TextPart(text=text))])
            for role, text in texts.items()
        ],
        config=GenerationConfig(max_tokens=256, temperature=0.5),
    )


async def load(
    address: str, model: str, mode: str, concurrency: int, calls: int, metadata: str = ""
) -> dict[str, object]:
    request = _request(model)
    headers = ((metadata, "1"),) if metadata else None
    took: list[float] = []
    messages = deltas = 0
    left = iter(range(calls))

    async def caller(stub: InferenceServiceStub) -> None:
        nonlocal messages, deltas
        for _ in left:
            begun = time.perf_counter()
            if mode == "unary":
                answer = await stub.Generate(request, metadata=headers)
                assert answer.message.parts[0].text.text
            else:
                finished = False
                call = stub.StreamGenerate(StreamGenerateRequest(request=request), metadata=headers)
                async for response in call:
                    messages += 1
                    for event in response.events:
                        if event.HasField("part_delta"):
                            deltas += event.part_delta.text.count(" token")
                        finished = finished or event.HasField("finished")
                assert finished
            took.append(time.perf_counter() - begun)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = InferenceServiceStub(channel)
        begun = time.perf_counter()
        await asyncio.gather(*(caller(stub) for _ in range(concurrency)))
        wall = time.perf_counter() - begun
    return {"wall": wall, "took": took, "messages": messages, "deltas": deltas}


if __name__ == "__main__":
    uvloop.install()
    address, model, mode, concurrency, calls, *metadata = sys.argv[1:]
    result = asyncio.run(load(address, model, mode, int(concurrency), int(calls), *metadata))
    print(json.dumps(result))
