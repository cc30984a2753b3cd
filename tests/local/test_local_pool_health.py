"""grpc.health.v1 of each model, and what callers see while a model's engine is dead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from local_pool_bench import Gate, load, load_plan, plan_of, refused, started, until

from marsys.v1 import (
    ErrorReason,
    GetModelRequest,
    LoadStage,
    ModelState,
    UnloadModelRequest,
)
from serving.errors import service_error

STATUS = health_pb2.HealthCheckResponse
PREFIX = "marsys.v1.InferenceService/"


class Health:
    """The health service as probes see it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub: Any = health_pb2_grpc.HealthStub(self._channel)

    async def check(self, model: object) -> Any:
        request = health_pb2.HealthCheckRequest(service=f"{PREFIX}{model}")
        try:
            return (await self._stub.Check(request)).status
        except grpc.aio.AioRpcError as error:
            return error.code()

    def watch(self, model: object) -> AsyncIterator[Any]:
        return aiter(self._stub.Watch(health_pb2.HealthCheckRequest(service=f"{PREFIX}{model}")))

    async def close(self) -> None:
        await self._channel.close()


@pytest.fixture
async def empty(serve, tiny_directory):
    return await serve(model="none", allow_model_paths=[tiny_directory.parent])


@pytest.fixture
async def health(empty):
    health = Health(empty.server.address)
    yield health
    await health.close()


def dead(retryable: bool = True) -> Any:
    error = service_error(
        ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE, "the engine died", retry_after=1
    ).error
    error.retryable = retryable
    return error


def tell(adapter: Any, fault: Any) -> None:
    """As an engine does it: from a thread of its own."""
    thread = threading.Thread(target=adapter.on_health, args=(fault,))
    thread.start()
    thread.join()


async def test_health_follows_a_model_through_its_life(empty, health, tiny_directory, ask):
    name = str(tiny_directory)
    gate = Gate()
    watch = health.watch(name)
    assert (await anext(watch)).status == STATUS.SERVICE_UNKNOWN
    assert await health.check(name) == grpc.StatusCode.NOT_FOUND
    loading = asyncio.create_task(load_plan(empty, gate.hold(plan_of(empty, tiny_directory))))
    await gate.reached()
    assert (await anext(watch)).status == STATUS.NOT_SERVING
    assert await health.check(name) == STATUS.NOT_SERVING
    gate.open()
    await loading
    assert await health.check(name) == STATUS.SERVING
    assert (await anext(watch)).status == STATUS.SERVING
    stream = await started(empty, ask("hi", name, max_tokens=100, temperature=0))
    unloading = asyncio.ensure_future(empty.models.UnloadModel(UnloadModelRequest(model=name)))
    assert (await anext(watch)).status == STATUS.NOT_SERVING
    async for _ in stream:
        pass
    await unloading
    assert (await anext(watch)).status == STATUS.SERVICE_UNKNOWN
    assert await health.check(name) == grpc.StatusCode.NOT_FOUND


async def test_a_failed_load_is_not_serving(empty, health, tiny_directory):
    missing = tiny_directory.parent / "missing"
    await refused(load(empty, missing))
    assert await health.check(missing) == STATUS.NOT_SERVING


async def test_a_dead_engine_fails_calls_at_once_until_it_answers_again(
    empty, health, tiny_directory, ask
):
    name = str(tiny_directory)
    await load(empty, name)
    watch = health.watch(name)
    assert (await anext(watch)).status == STATUS.SERVING
    with empty.app._pool.use(name) as adapter:
        tell(adapter, dead())
    assert (await anext(watch)).status == STATUS.NOT_SERVING
    model = (await empty.models.GetModel(GetModelRequest(name=name))).model
    assert model.state == ModelState.MODEL_STATE_FAILED
    assert model.error.message == "the engine died"
    assert model.memory_bytes > 0
    for call in (
        empty.inference.Generate(ask("hi", name)),
        load(empty, name),
    ):
        error = await refused(call)
        assert error.reason == ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
        assert error.HasField("retry_after")
    tell(adapter, None)
    assert (await anext(watch)).status == STATUS.SERVING
    assert (await empty.inference.Generate(ask("hi", name, max_tokens=2))).model == name
    model = (await empty.models.GetModel(GetModelRequest(name=name))).model
    assert model.state == ModelState.MODEL_STATE_READY
    assert not model.HasField("error")


async def test_a_model_that_will_not_come_back_is_loaded_anew(empty, tiny_directory, ask):
    name = str(tiny_directory)
    await load(empty, name)
    with empty.app._pool.use(name) as old:
        tell(old, dead(retryable=False))
    await until(lambda: empty.app._pool.describe(name).HasField("error"))
    assert (await load(empty, name))[-1].stage == LoadStage.LOAD_STAGE_READY
    with empty.app._pool.use(name) as new:
        assert new is not old
    assert old.model is None  # its memory is free
    tell(old, dead())  # comes too late to matter
    assert (await empty.inference.Generate(ask("hi", name, max_tokens=2))).model == name


async def test_a_dead_model_can_be_unloaded(empty, health, tiny_directory):
    name = str(tiny_directory)
    await load(empty, name)
    with empty.app._pool.use(name) as adapter:
        tell(adapter, dead())
    await until(lambda: empty.app._pool.describe(name).HasField("error"))
    await empty.models.UnloadModel(UnloadModelRequest(model=name))
    assert await health.check(name) == grpc.StatusCode.NOT_FOUND


async def test_one_models_health_is_not_anothers(serve, tiny_directory, copy_of):
    other = copy_of("other")
    bench = await serve(model=str(tiny_directory), allow_model_paths=[other.parent])
    health = Health(bench.server.address)
    await load(bench, other)
    with bench.app._pool.use(str(other)) as adapter:
        tell(adapter, dead())
    await until(lambda: bench.app._pool.describe(str(other)).HasField("error"))
    assert await health.check(other) == STATUS.NOT_SERVING
    assert await health.check("tiny") == STATUS.SERVING
    await health.close()


async def test_stopping_says_not_serving(serve, tiny_directory):
    bench = await serve(model=str(tiny_directory))
    health = Health(bench.server.address)
    watch = health.watch("tiny")
    assert (await anext(watch)).status == STATUS.SERVING
    stopping = asyncio.create_task(bench.server.stop(5))
    assert (await anext(watch)).status == STATUS.NOT_SERVING
    await stopping
    await health.close()
