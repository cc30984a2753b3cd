"""Hundreds of callers at once who leave as they like: nobody else notices, nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
from local_bench import LocalBench, ask

from marsys.v1 import GenerateRequest, StreamGenerateRequest
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub

Serve = Callable[..., Awaitable[LocalBench]]

_MOST_GROWTH = 64 * 2**20  # bytes


def question(number: int, **config: Any) -> GenerateRequest:
    return ask(f"Question {number}: " + "why? " * (number % 13), **{"temperature": 0} | config)


def engine_of(bench: LocalBench) -> Any:
    with bench.app.generator._pool.use("tiny") as adapter:
        return adapter._engine


async def read(stub: Any, request: GenerateRequest, leave_after: int | None = None) -> str:
    """The text of a stream; left after some responses, where a number is given."""
    text, seen = "", 0
    call = stub.StreamGenerate(StreamGenerateRequest(request=request))
    async for response in call:
        text += "".join(event.part_delta.text for event in response.events)
        seen += 1
        if seen == leave_after:
            call.cancel()
            return text
    return text


async def settled(bench: LocalBench) -> None:
    async with asyncio.timeout(60):
        while bench.jobs("tiny"):
            await asyncio.sleep(0.01)


async def test_100_of_200_are_cancelled(serve: Serve, tiny_directory: Path) -> None:
    bench = await serve(model=str(tiny_directory), max_active=200, max_queued=10)
    engine = engine_of(bench)
    expected = [await read(bench.inference, question(n, max_tokens=60)) for n in range(0, 200, 40)]
    calls = [
        asyncio.create_task(
            read(bench.inference, question(n, max_tokens=60 if n % 2 == 0 else 150))
        )
        for n in range(200)
    ]
    async with asyncio.timeout(60):
        while len(engine._batch.rows) < 150:
            await asyncio.sleep(0.002)
    full = engine._batch.nbytes
    for number in range(1, 200, 2):
        calls[number].cancel()
    stayed = await asyncio.gather(*calls[::2])
    assert [stayed[n // 2] for n in range(0, 200, 40)] == expected
    alone = [await read(bench.inference, question(n, max_tokens=60)) for n in range(0, 200, 2)]
    assert stayed == alone
    await settled(bench)
    assert full > 0
    assert engine._batch.nbytes == 0


async def test_1000_callers_who_come_and_go(serve: Serve, tiny_directory: Path) -> None:
    bench = await serve(model=str(tiny_directory), max_active=32, max_queued=1000)
    random_ = random.Random(6)
    process = psutil.Process()

    async def caller(number: int) -> None:
        """One way to use the service, and to leave it."""
        way = random_.choice(("unary", "stream", "stop", "leave", "cancel", "deadline", "vanish"))
        request = question(number, max_tokens=random_.randint(1, 80))
        await asyncio.sleep(random_.random() * 2)
        if way == "unary":
            response = await bench.inference.Generate(request)
            assert response.usage.output_tokens <= request.config.max_tokens
        elif way == "stop":
            request.config.stop_sequences.extend(["e", "\ufffd"])
            response = await bench.inference.Generate(request)
            assert "e" not in "".join(part.text.text for part in response.message.parts)
        elif way == "stream":
            await read(bench.inference, request)
        elif way == "leave":
            await read(bench.inference, request, leave_after=random_.randint(1, 5))
        elif way == "cancel":
            task = asyncio.create_task(read(bench.inference, request))
            await asyncio.sleep(random_.random() / 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        elif way == "deadline":
            try:
                await bench.inference.Generate(request, timeout=random_.random() / 5 + 0.001)
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            channel = grpc.aio.insecure_channel(bench.server.address)
            task = asyncio.create_task(read(InferenceServiceStub(channel), request))
            await asyncio.sleep(random_.random() / 10)
            await channel.close()
            await asyncio.gather(task, return_exceptions=True)

    async def round_of(callers: int) -> None:
        await asyncio.gather(*(caller(number) for number in range(callers)))
        await settled(bench)
        gc.collect()

    await round_of(200)  # what is made on first use
    threads, tasks, files = threading.active_count(), len(asyncio.all_tasks()), process.num_fds()
    memory = process.memory_info().rss
    await round_of(1000)
    engine = engine_of(bench)
    assert engine._batch.nbytes == 0
    assert not engine._waiting
    assert not engine._reading
    assert threading.active_count() <= threads + 2
    assert len(asyncio.all_tasks()) <= tasks + 2
    assert process.num_fds() <= files + 10
    assert process.memory_info().rss - memory < _MOST_GROWTH
    expected = await bench.inference.Generate(question(1, max_tokens=10))
    assert expected.usage.output_tokens == 10
