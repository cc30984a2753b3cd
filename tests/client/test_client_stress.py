"""Very many calls at once over one model, left in every way: nothing leaks, nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
from client_scripted import events_of, text

from marsys.agents.exceptions import ModelTimeoutError
from marsys.models import BaseAPIModel
from marsys.stream import fold
from marsys.v1 import GenerateRequest, GenerateResponse, StreamEvent, StreamGenerateResponse
from marsys.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)

ASYNC_CALLS = 500
THREADS = 50
CALLS_A_THREAD = 5
BOUND = 120.0  # seconds a round may take, on a busy machine too
# gRPC has threads and pollers of its own, whose number varies. A leak would be far more: there are
# some forty calls of every kind in a round.
SLACK = {"file descriptors": 10, "threads": 10}


class Echo(InferenceServiceServicer):
    """Repeats what it is told, a word at a time, or never ends where it is told to hang.

    Attributes:
        address: where it listens.
        active: how many calls run.
        served: how many calls came.
    """

    def __init__(self) -> None:
        self.address = ""
        self.active = 0
        self.served = 0

    async def Generate(self, request: GenerateRequest, context: Any) -> GenerateResponse:
        return fold([event async for event in self._events(request)])

    async def StreamGenerate(
        self, request: Any, context: Any
    ) -> AsyncIterator[StreamGenerateResponse]:
        async for event in self._events(request.request):
            yield StreamGenerateResponse(events=[event])

    async def _events(self, request: GenerateRequest) -> AsyncIterator[StreamEvent]:
        self.active += 1
        self.served += 1
        try:
            said = request.messages[-1].parts[0].text.text
            for event in events_of(text(said)):
                yield event
                await asyncio.sleep(0.002)
                if said.startswith("hang") and event.WhichOneof("event") == "part_delta":
                    await asyncio.Event().wait()
        finally:
            self.active -= 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    gc.collect()  # what other tests have left shall not be taken for ours
    servicer = Echo()
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        server = grpc.aio.server()
        add_InferenceServiceServicer_to_server(servicer, server)
        servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        started.set()
        await asyncio.to_thread(stop.wait)
        await server.stop(0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    yield servicer
    stop.set()
    thread.join()


class Caller:
    """Makes calls in random ways and counts how they ended.

    Args:
        model: what all calls share.
        seed: of everything that is random here.
    """

    def __init__(self, model: BaseAPIModel, seed: int) -> None:
        self._model = model
        self._seed = seed
        self.ended: Counter[str] = Counter()
        self.errors: list[BaseException] = []

    async def round(self) -> None:
        """All asynchronous calls on this loop, and beside them the threads."""
        threads = [
            threading.Thread(target=self._thread, args=(number,), name=f"caller-{number}")
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        calls = (self._guarded(f"async {number}") for number in range(ASYNC_CALLS))
        await asyncio.wait_for(asyncio.gather(*calls), BOUND)
        end = time.monotonic() + BOUND
        for thread in threads:
            await asyncio.to_thread(thread.join, max(0.0, end - time.monotonic()))
        assert not [thread.name for thread in threads if thread.is_alive()]

    async def _guarded(self, name: str) -> None:
        chance = random.Random(f"{self._seed} {name}")
        try:
            self.ended[await chance.choice(self._async_ways)(self, name, chance)] += 1
        except Exception as error:
            self.errors.append(error)

    async def _arun(self, name: str, chance: random.Random) -> str:
        assert (await self._model.arun(name))["content"] == name
        return "arun"

    async def _pending(self, name: str, chance: random.Random) -> str:
        assert (await self._model.run(name))["content"] == name
        return "pending"

    async def _astream(self, name: str, chance: random.Random) -> str:
        chunks = [chunk["content"] async for chunk in self._model.stream(name)]
        assert "".join(chunks) == name
        return "astream"

    async def _cancelled_task(self, name: str, chance: random.Random) -> str:
        """A task is cancelled at any moment: before it runs, while it connects, amid a stream."""

        async def read() -> None:
            async for _ in self._model.stream(f"hang {name}"):
                pass

        make: Callable[[], Any] = chance.choice((read, lambda: self._model.arun(f"hang {name}")))
        task = asyncio.ensure_future(make())
        await asyncio.sleep(chance.choice((0, chance.random() * 0.3)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return "cancelled task"

    async def _cancelled_pending(self, name: str, chance: random.Random) -> str:
        pending = self._model.run(f"hang {name}")
        waiting = asyncio.ensure_future(pending) if chance.random() < 0.5 else None
        await asyncio.sleep(chance.random() * 0.3)
        assert pending.cancel()
        if waiting is not None:
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return "cancelled pending"

    async def _async_timeout(self, name: str, chance: random.Random) -> str:
        with pytest.raises(ModelTimeoutError):
            await self._model.arun(f"hang {name}", timeout=0.05 + chance.random() * 0.3)
        return "async timeout"

    async def _async_left(self, name: str, chance: random.Random) -> str:
        stream = self._model.stream(f"hang {name}")
        async for chunk in stream:
            assert chunk["content"] == "hang "
            break
        if chance.random() < 0.5:
            await stream.aclose()  # else it is just dropped
        return "async left"

    _async_ways = (
        _arun, _pending, _astream, _cancelled_task, _cancelled_pending, _async_timeout, _async_left
    )  # fmt: skip

    def _thread(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        for call in range(CALLS_A_THREAD):
            name = f"thread {number} {call}"
            try:
                self.ended[chance.choice(self._sync_ways)(self, name, chance)] += 1
            except BaseException as error:
                self.errors.append(error)

    def _run(self, name: str, chance: random.Random) -> str:
        assert self._model.run(name)["content"] == name
        return "run"

    def _stream(self, name: str, chance: random.Random) -> str:
        assert "".join(chunk["content"] for chunk in self._model.stream(name)) == name
        return "stream"

    def _timeout(self, name: str, chance: random.Random) -> str:
        with pytest.raises(ModelTimeoutError):
            self._model.run(f"hang {name}", timeout=0.05 + chance.random() * 0.3)
        return "timeout"

    def _left(self, name: str, chance: random.Random) -> str:
        with self._model.stream(f"hang {name}") as stream:
            assert next(stream)["content"] == "hang "
        assert list(stream) == []
        return "left"

    def _closed_elsewhere(self, name: str, chance: random.Random) -> str:
        stream = self._model.stream(f"hang {name}")
        closer = threading.Timer(chance.random() * 0.3, stream.close)
        closer.start()
        assert "".join(chunk["content"] for chunk in stream) in ("", "hang ")
        closer.join()
        return "closed elsewhere"

    def _own_loop(self, name: str, chance: random.Random) -> str:
        """A loop for one call, as code that is half synchronous does."""
        assert asyncio.run(self._model.arun(name))["content"] == name
        return "own loop"

    _sync_ways = (_run, _stream, _timeout, _left, _closed_elsewhere, _own_loop)


def held(address: str) -> dict[str, int]:
    """What this process holds that a call might leak."""
    gc.collect()
    process = psutil.Process()
    port = int(address.rpartition(":")[2])
    connections = [c for c in process.net_connections("tcp") if c.raddr and c.raddr.port == port]
    return {
        "connections": len(connections),
        "file descriptors": process.num_fds(),
        "Python threads": threading.active_count(),
        "threads": process.num_threads(),
        "event loops": sum(
            issubclass(type(each), asyncio.BaseEventLoop) and not each.is_closed()
            for each in gc.get_objects()
        ),
    }


def more_than(before: dict[str, int], address: str) -> dict[str, tuple[int, int]]:
    """What is more than before: how many it was and is."""
    now = held(address)
    return {
        name: (count, now[name])
        for name, count in before.items()
        if now[name] > count + SLACK.get(name, 0)
    }


def settled(measure: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
    """What is measured once it fits, or in the end."""
    end = time.monotonic() + 30
    while not fits(measured := measure()) and time.monotonic() < end:
        time.sleep(0.1)
    return measured


def test_very_many_calls_left_in_every_way_leak_nothing(echo: Echo):
    seed = int(os.environ.get("STRESS_SEED", time.time_ns()))
    print(f"STRESS_SEED={seed}")
    model = BaseAPIModel("openai", "m", target=echo.address)
    tasks_left: list[str] = []
    complaints: list[Any] = []
    before: dict[str, int] = {}

    async def work(caller: Caller) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: complaints.append(context)
        )
        await caller.round()
        me = asyncio.current_task()
        end = time.monotonic() + 30
        while (left := asyncio.all_tasks() - {me}) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        tasks_left.extend(map(repr, left))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(3):
            caller = Caller(model, seed + number)
            asyncio.run(work(caller))
            assert caller.errors == []
            assert caller.ended.total() == ASYNC_CALLS + THREADS * CALLS_A_THREAD
            assert len(caller.ended) == len(Caller._async_ways) + len(Caller._sync_ways)
            assert tasks_left == []
            assert complaints == []
            # Every cancelled, late and abandoned call has ended at the service, too.
            assert settled(lambda: echo.active, lambda active: active == 0) == 0
            if number == 0:  # what the first round made, such as gRPC's own threads, may stay
                before = held(echo.address)
                assert before["connections"] == 1  # the channel of synchronous calls
                continue
            assert settled(partial(more_than, before, echo.address), lambda more: not more) == {}
    assert echo.served > ASYNC_CALLS


def test_leaks_would_be_seen(echo: Echo):
    before = held(echo.address)
    channels = [grpc.insecure_channel(echo.address) for _ in range(3)]
    for channel in channels:
        with contextlib.suppress(grpc.RpcError):
            channel.unary_unary("/marsys.v1.InferenceService/Nothing")(b"", timeout=20)
    asleep = threading.Event()
    thread = threading.Thread(target=asleep.wait)
    thread.start()
    loop = asyncio.new_event_loop()
    more = more_than(before, echo.address)
    assert more.keys() >= {"connections", "Python threads", "event loops"}
    loop.close()
    asleep.set()
    thread.join()
    for channel in channels:
        channel.close()
