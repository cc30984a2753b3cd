"""A long random walk over loads, joins, calls, unloads and evictions: nothing leaks, ever.

The walk is drawn by hypothesis; each step runs against a real server and real tiny models, and
several run at a time. After each round the pool must be consistent, and after the walk empty.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local_inference_service.pool_entry import Entry
from local_inference_service.service import LocalApp
from local_inference_service.settings import LocalSettings
from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    ErrorReason,
    LoadModelRequest,
    LoadStage,
    ModelState,
    UnloadModelRequest,
)
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceStub
from serving.server import start_server

MODELS = 3
EXPECTED = {
    ErrorReason.ERROR_REASON_INVALID_MODEL,
    ErrorReason.ERROR_REASON_MODEL_LOADING,
    ErrorReason.ERROR_REASON_MODEL_NOT_LOADED,
    ErrorReason.ERROR_REASON_CONFLICT,
}

which = st.integers(0, MODELS - 1)
steps = st.one_of(
    st.tuples(st.just("load"), which),
    st.tuples(st.just("load and leave"), which),
    st.tuples(st.just("ask"), which),
    st.tuples(st.just("ask and leave"), which),
    st.tuples(st.just("unload"), which),
    st.tuples(st.just("unload now"), which),
    st.tuples(st.just("unload and leave"), which),
)
rounds = st.lists(st.lists(steps, min_size=1, max_size=6), min_size=1, max_size=8)


class Walk:
    """Does the steps of one walk."""

    def __init__(
        self, app: LocalApp, channel: grpc.aio.Channel, names: list[str], ask: Any
    ) -> None:
        self._pool = app._pool
        self._models: Any = ModelServiceStub(channel)
        self._inference: Any = InferenceServiceStub(channel)
        self._names = names
        self._ask = ask
        self.weights: list[weakref.ref[Any]] = []

    async def step(self, action: str, number: int) -> None:
        name = self._names[number]
        try:
            await self._do(action, name)
        except grpc.aio.AioRpcError as error:
            assert from_rpc_error(error).reason in EXPECTED, error

    async def _do(self, action: str, name: str) -> None:
        models, inference = self._models, self._inference
        if action == "load":
            got = [step async for step in models.LoadModel(LoadModelRequest(model=name))]
            assert got[-1].stage == LoadStage.LOAD_STAGE_READY
            assert got[-1].model.name == name
        elif action == "load and leave":
            call = models.LoadModel(LoadModelRequest(model=name))
            await anext(aiter(call))
            call.cancel()
        elif action == "ask":
            answer = await inference.Generate(self._ask("hi", name, max_tokens=5, temperature=0))
            assert answer.model == name
            assert answer.usage.output_tokens == 5
        elif action == "ask and leave":
            call = inference.Generate(self._ask("hi", name, max_tokens=200))
            await asyncio.sleep(0)
            call.cancel()
        else:
            request = UnloadModelRequest(model=name)
            if action == "unload now":
                request.drain_timeout.FromMilliseconds(0)
            call = models.UnloadModel(request)
            if action == "unload and leave":
                await asyncio.sleep(0)
                call.cancel()
            else:
                await call

    def check(self, most: int) -> None:
        """What must hold whatever is going on."""
        entries: list[Entry] = list(self._pool._models)
        held = [entry for entry in entries if entry.need is not None]
        assert len(held) <= most
        for entry in entries:
            assert entry.users >= 0
            assert entry.names
            if entry.state == ModelState.MODEL_STATE_READY:
                assert entry.adapter is not None
                assert entry.need is not None
                model = entry.adapter.model
                self.weights.append(weakref.ref(next(iter(model.parameters()))))

    async def settle(self) -> None:
        """Unload everything, and wait for all calls to end."""
        pool = self._pool
        async with asyncio.timeout(60):
            while entries := list(pool._models):
                await asyncio.gather(
                    *[pool.unload(e.name, None) for e in entries], return_exceptions=True
                )


async def walk(directories: list[Path], ask: Any, plan: list[Any], evict: bool) -> None:
    most = 2
    before = set(threading.enumerate())
    app = LocalApp(
        LocalSettings(
            address="127.0.0.1:0",
            model="none",
            max_models=most,
            evict_idle=evict,
            allow_model_paths=[directory.parent for directory in directories],
        )
    )
    health: dict[str, bool] = {}

    def report(name: str, answers: bool | None) -> None:
        if answers is None:
            del health[name]
        else:
            health[name] = answers

    server = await start_server(app._settings, app)
    app.report_health(report)
    channel = grpc.aio.insecure_channel(server.address)
    try:
        await server.ready()
        walker = Walk(app, channel, [str(directory) for directory in directories], ask)
        for steps_of_round in plan:
            await asyncio.gather(*[walker.step(*step) for step in steps_of_round])
            walker.check(most)
            known = app._pool.models()
            assert {m.name: m.state == ModelState.MODEL_STATE_READY for m in known} == health
        await walker.settle()
        assert not app._pool.models()
        assert not app._pool._models._names
        assert health == {}
    finally:
        await channel.close()
        await server.stop(0.2)
    for thread in set(threading.enumerate()) - before:
        if thread.name not in ("engine", "load"):
            continue
        thread.join(30)  # it may be at its last line
        assert not thread.is_alive()
    gc.collect()
    assert not [ref for ref in walker.weights if ref() is not None]


@pytest.fixture
def directories(tiny_directory, copy_of):
    return [tiny_directory, *(copy_of(f"copy-{number}") for number in range(MODELS - 1))]


@pytest.mark.parametrize("evict", [False, True])
def test_a_random_walk_leaks_nothing(directories, ask, evict):
    # Each walk takes a quarter of a second, and what fails does so by chance: not shrunk.
    @settings(
        max_examples=25,
        phases=[Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(rounds)
    def run(plan: list[Any]) -> None:
        asyncio.run(walk(directories, ask, plan, evict))

    run()
