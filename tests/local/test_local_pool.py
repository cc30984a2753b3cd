"""The pool under concurrent loads, unloads and calls, on real models behind a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from local_pool_bench import (
    Gate,
    entries,
    everything,
    load,
    load_plan,
    plan_of,
    refused,
    started,
    state_now,
    state_of,
    until,
)

from local_inference_service.load_thread import LoadThread
from local_inference_service.model_source import find_source
from marsys.v1 import (
    ErrorReason,
    GetModelRequest,
    LoadModelRequest,
    LoadModelResponse,
    LoadOptions,
    LoadStage,
    ModelState,
    UnloadModelRequest,
)

QUEUED = LoadStage.LOAD_STAGE_QUEUED
LOADING = LoadStage.LOAD_STAGE_LOADING
WARMING_UP = LoadStage.LOAD_STAGE_WARMING_UP
READY = LoadStage.LOAD_STAGE_READY


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
async def empty(serve, tiny_directory):
    return await serve(model="none", allow_model_paths=[tiny_directory.parent])


async def test_bytes_grow_to_the_size_of_the_weights(empty, tiny_directory):
    steps = await load(empty, tiny_directory)
    loading = [step for step in steps if step.stage == LOADING]
    assert {step.total_bytes for step in loading} == {loading[-1].total_bytes}
    counted = [s.completed_bytes for s in loading if s.HasField("completed_bytes")]
    assert counted == sorted(counted)
    assert counted[-1] == loading[-1].total_bytes > 50_000
    assert [s.stage for s in steps] == sorted(s.stage for s in steps)
    assert len(steps) <= 110


async def test_a_second_model_is_queued_while_one_is_read(empty, tiny_directory, copy_of, gate):
    other = copy_of("other")
    empty.app._settings.allow_model_paths.append(other.parent)
    first = asyncio.create_task(load_plan(empty, gate.hold(plan_of(empty, tiny_directory))))
    await gate.reached()
    second = aiter(empty.models.LoadModel(LoadModelRequest(model=str(other))))
    assert (await anext(second)).stage == QUEUED
    assert await state_of(empty, other) == ModelState.MODEL_STATE_LOADING
    gate.open()
    assert (await first)[-1].stage == READY
    assert [step.stage async for step in second][-1] == READY


async def test_those_who_join_a_load_see_its_steps(empty, tiny_directory, gate):
    plan = gate.hold(plan_of(empty, tiny_directory))
    loads = [asyncio.create_task(load_plan(empty, plan))]
    await gate.reached()
    loads += [asyncio.create_task(load(empty, tiny_directory)) for _ in range(3)]
    await until(lambda: sum(len(e.steps._readers) for e in entries(empty)) == 4)
    gate.open()
    for steps in await asyncio.gather(*loads):
        stages = [step.stage for step in steps]
        assert stages[-2:] == [WARMING_UP, READY]
        assert LOADING in stages
    assert len(gate.adapters) == 1


async def test_a_load_goes_on_when_its_caller_leaves(empty, tiny_directory, gate, ask):
    steps = empty.app._pool.load(gate.hold(plan_of(empty, tiny_directory)))
    async with aclosing(steps):
        await anext(steps)
        await gate.reached()
    name = str(tiny_directory)
    error = await refused(empty.inference.Generate(ask("hi", name)))
    assert error.reason == ErrorReason.ERROR_REASON_MODEL_LOADING
    assert error.retryable
    assert error.HasField("retry_after")
    gate.open()
    assert (await load(empty, tiny_directory))[-1].stage == READY
    assert len(gate.adapters) == 1


async def test_unloading_stops_a_load_for_all_who_wait(empty, tiny_directory, gate):
    plan = gate.hold(plan_of(empty, tiny_directory))
    loads = [asyncio.create_task(load_plan(empty, plan)) for _ in range(2)]
    await gate.reached()
    pool = empty.app._pool
    unloads = [asyncio.create_task(pool.unload(str(tiny_directory), None)) for _ in range(2)]
    await until(lambda: state_now(empty, tiny_directory) == ModelState.MODEL_STATE_UNLOADING)
    gate.open()
    await asyncio.gather(*unloads)
    for each in loads:
        error = await refused(each)
        assert error.reason == ErrorReason.ERROR_REASON_MODEL_NOT_LOADED
        assert "while it was being loaded" in error.message
    assert not empty.app._pool.models()
    assert gate.adapters == gate.closed
    assert (await load(empty, tiny_directory))[-1].stage == READY


async def test_unloading_a_load_that_has_not_begun(empty, tiny_directory):
    pool = empty.app._pool
    steps: AsyncIterator[LoadModelResponse] = pool.load(plan_of(empty, tiny_directory))
    first = asyncio.ensure_future(anext(steps))
    await until(lambda: bool(pool.models()))
    await pool.unload(str(tiny_directory), None)
    assert not pool.models()
    error = await refused(drain(first, steps))
    assert error.reason == ErrorReason.ERROR_REASON_MODEL_NOT_LOADED


async def drain(first: asyncio.Future[Any], rest: AsyncIterator[Any]) -> None:
    await first
    async for _ in rest:
        pass


async def test_a_load_during_an_unload_waits_and_loads_again(empty, tiny_directory, ask):
    name = str(tiny_directory)
    await load(empty, name)
    stream = await started(empty, ask("hi", name, max_tokens=100, temperature=0))
    unloading = asyncio.ensure_future(empty.models.UnloadModel(UnloadModelRequest(model=name)))
    await until(lambda: state_now(empty, name) == ModelState.MODEL_STATE_UNLOADING)
    error = await refused(empty.inference.Generate(ask("hi", name)))
    assert error.reason == ErrorReason.ERROR_REASON_MODEL_NOT_LOADED
    assert error.HasField("retry_after")
    steps = asyncio.create_task(load(empty, name))
    events = [event async for response in stream for event in response.events]
    assert events[-1].HasField("finished")
    await unloading
    stages = [step.stage for step in await steps]
    assert (stages[0], stages[-1]) == (QUEUED, READY)
    assert (await empty.inference.Generate(ask("hi", name, max_tokens=2))).model == name


async def test_an_unload_given_up_keeps_the_model(empty, tiny_directory, ask):
    name = str(tiny_directory)
    await load(empty, name)
    stream = await started(empty, ask("hi", name, max_tokens=200, temperature=0))
    unloading = asyncio.ensure_future(empty.models.UnloadModel(UnloadModelRequest(model=name)))
    await until(lambda: state_now(empty, name) == ModelState.MODEL_STATE_UNLOADING)
    steps = asyncio.create_task(load(empty, name))
    unloading.cancel()
    assert (await steps)[-1].stage == READY
    assert state_now(empty, name) == ModelState.MODEL_STATE_READY
    assert [e async for r in stream for e in r.events][-1].HasField("finished")


async def test_the_shortest_patience_of_two_unloads_counts(empty, tiny_directory, ask):
    name = str(tiny_directory)
    await load(empty, name)
    stream = await started(empty, ask("hi", name, max_tokens=240, temperature=0))
    patient = asyncio.ensure_future(empty.models.UnloadModel(UnloadModelRequest(model=name)))
    await until(lambda: state_now(empty, name) == ModelState.MODEL_STATE_UNLOADING)
    hasty = UnloadModelRequest(model=name)
    hasty.drain_timeout.FromMilliseconds(1)
    await empty.models.UnloadModel(hasty)
    await patient
    error = await refused(everything(stream))
    assert error.reason == ErrorReason.ERROR_REASON_MODEL_NOT_LOADED
    assert not empty.app._pool.models()


async def test_stopping_during_a_load_closes_what_it_gives(serve, tiny_directory, gate):
    bench = await serve(model="none")
    loading = asyncio.create_task(load_plan(bench, gate.hold(plan_of(bench, tiny_directory))))
    await gate.reached()
    closing = asyncio.create_task(bench.app.stop())
    await until(lambda: state_now(bench, tiny_directory) == ModelState.MODEL_STATE_UNLOADING)
    error = await refused(load(bench, "some/other"))
    assert error.reason == ErrorReason.ERROR_REASON_SHUTTING_DOWN
    gate.open()
    await closing
    await refused(loading)
    assert gate.adapters == gate.closed


@pytest.mark.parametrize("loop_is_closed", [True, False])
def test_a_load_that_outlives_the_service_is_closed_by_its_thread(
    tiny_directory, monkeypatch, gate, loop_is_closed
):
    """The service has stopped, and perhaps its loop is closed, while a thread still loads."""
    from local_inference_service import pool as pool_module
    from local_inference_service.service import LocalApp
    from local_inference_service.settings import LocalSettings

    monkeypatch.setattr(pool_module, "_STOP_PATIENCE", 0.01)
    app = LocalApp(LocalSettings(model="none"))
    plan = app._plans.make("m", find_source(str(tiny_directory), ""), LoadOptions())
    # It doesn't hear that it shall stop, as a library may not.
    deaf = replace(plan, open=lambda at, need, progress: plan.open(at, need, lambda *step: None))

    async def begin_and_stop() -> None:
        loading = asyncio.create_task(anext(app._pool.load(gate.hold(deaf))))
        await gate.reached()
        await app.stop()
        loading.cancel()
        if not loop_is_closed:
            await asyncio.to_thread(finish)

    def finish() -> None:
        assert not gate.adapters
        thread = next(each for each in threading.enumerate() if each.name == "load")
        gate.open()
        thread.join(60)

    asyncio.run(begin_and_stop())
    if loop_is_closed:
        finish()
    assert len(gate.adapters) == 1
    assert gate.closed == gate.adapters


async def test_what_a_thread_gives_after_two_cancellations_is_thrown_away():
    may_end = threading.Event()
    stopped = threading.Event()
    thrown: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def work() -> str:
        may_end.wait(60)
        return "late"

    def discard(value: str) -> None:
        loop.call_soon_threadsafe(thrown.put_nowait, value)

    task = asyncio.create_task(LoadThread(work, stopped.set, discard).result())
    for _ in range(2):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert stopped.is_set()
    may_end.set()
    async with asyncio.timeout(30):
        assert await thrown.get() == "late"


async def test_spellings_of_a_directory_are_one_model(empty, tiny_directory, ask):
    spelled = f"{tiny_directory.parent}/./{tiny_directory.name}"
    await load(empty, tiny_directory)
    ready = await load(empty, spelled)
    assert [step.stage for step in ready] == [READY]
    assert ready[0].model.name == str(tiny_directory)
    assert len(empty.app._pool.models()) == 1
    assert (await empty.inference.Generate(ask("hi", spelled, max_tokens=2))).model == spelled
    await empty.models.UnloadModel(UnloadModelRequest(model=spelled))
    for name in (spelled, str(tiny_directory)):
        error = await refused(empty.inference.Generate(ask("hi", name)))
        assert error.reason == ErrorReason.ERROR_REASON_INVALID_MODEL


async def test_names_are_exact(tiny, ask):
    for name in ("Tiny", "tin", "tiny ", "models/tiny"):
        error = await refused(tiny.inference.Generate(ask("hi", name)))
        assert error.reason == ErrorReason.ERROR_REASON_INVALID_MODEL


async def test_directories_with_the_same_last_part_are_two_models(
    serve, tiny_directory, copy_of, ask
):
    twin = copy_of("tiny", max_position_embeddings=128)
    bench = await serve(
        model=str(tiny_directory), allow_model_paths=[twin.parent, tiny_directory.parent]
    )
    loaded = (await load(bench, twin))[-1].model
    assert loaded.name == str(twin)
    assert loaded.context_length == 128
    first = (await bench.models.GetModel(GetModelRequest(name="tiny"))).model
    assert first.context_length == 256
    # The served name is a name like any other; and its directory leads to the same model.
    assert (await load(bench, "tiny"))[-1].model.name == "tiny"
    assert (await load(bench, tiny_directory))[-1].model.name == "tiny"
    assert len(bench.app._pool.models()) == 2


async def test_a_link_that_leads_elsewhere_by_now_is_a_conflict(empty, tiny_directory, copy_of):
    other = copy_of("other")
    link = other.parent / "current"
    link.symlink_to(tiny_directory)
    empty.app._settings.allow_model_paths.append(other.parent)
    await load(empty, link)
    link.unlink()
    link.symlink_to(other)
    error = await refused(load(empty, link))
    assert (error.reason, error.field) == (ErrorReason.ERROR_REASON_CONFLICT, "model")
    await empty.models.UnloadModel(UnloadModelRequest(model=str(link)))
    assert (await load(empty, link))[-1].stage == READY


async def test_failed_loads_are_not_remembered_without_end(empty, tiny_directory):
    parent = tiny_directory.parent
    for number in range(70):
        await refused(load(empty, parent / f"missing-{number}"))
    names = [model.name for model in empty.app._pool.models()]
    assert len(names) == 64
    assert str(parent / "missing-69") in names
    assert str(parent / "missing-0") not in names


async def test_callers_load_only_where_the_operator_lets_them(serve, tiny_directory, ask):
    bench = await serve(
        model=str(tiny_directory), allow_load=False, allow_model_paths=[tiny_directory.parent]
    )
    assert (await load(bench, tiny_directory))[-1].stage == READY  # it is there
    for call in (
        load(bench, "organisation/model"),
        bench.models.UnloadModel(UnloadModelRequest(model="tiny")),
    ):
        error = await refused(call)
        assert error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
        assert "allow_load" in error.message
    assert (await bench.inference.Generate(ask("hi", max_tokens=2))).model == "tiny"
