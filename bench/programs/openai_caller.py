"""Calls with the openai SDK:
`openai_caller.py BASE_URL unary|stream CONCURRENCY CALLS < BODY`.

Runs in the SDK's environment; BODY is the JSON of a unary call. Prints what bench/load/load.c
prints; the CPU seconds are those of the calls, without the start and the first calls.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from openai import AsyncOpenAI


async def unary(client: AsyncOpenAI, body: dict[str, Any]) -> float:
    answer = await client.chat.completions.create(**body)
    if answer.choices[0].message.content.count("The quick") != 12:
        raise RuntimeError("not the right answer")
    return time.perf_counter()


async def stream(client: AsyncOpenAI, body: dict[str, Any]) -> float:
    came, count = 0.0, 0
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async for chunk in await client.chat.completions.create(**body, **options):
        if chunk.choices and chunk.choices[0].delta.content:
            count += chunk.choices[0].delta.content.count(" token")
            came = came or time.perf_counter()
    if count != 100:
        raise RuntimeError(f"{count} chunks came, not 100")
    return came


async def main(base_url: str, mode: str, concurrency: int, calls: int) -> dict[str, Any]:
    client = AsyncOpenAI(base_url=base_url, api_key="bench-key", max_retries=0)
    ask = stream if mode == "stream" else unary
    body = json.loads(sys.stdin.read())
    took: list[float] = []
    first: list[float] = []

    async def caller(left: Any) -> None:
        for _ in left:
            begun = time.perf_counter()
            came = await ask(client, body)
            took.append(time.perf_counter() - begun)
            first.append(came - begun)

    async def load(count: int) -> None:
        left = iter(range(count))
        await asyncio.gather(*(caller(left) for _ in range(concurrency)))

    await load(concurrency)
    took.clear()
    first.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    await load(calls)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "took": took, "first": first, "cpu": cpu}


if __name__ == "__main__":
    base_url, mode, concurrency, calls = sys.argv[1:]
    print(json.dumps(asyncio.run(main(base_url, mode, int(concurrency), int(calls)))))
