"""What models may take together: memory, their number, and how long they stay unused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from local_pool_bench import Gate, load, load_plan, names, plan_of, refused, started

from local_inference_service import memory
from local_inference_service.memory_need import (
    MemoryNeed,
    huggingface_need,
    vllm_need,
    weight_bytes,
)
from local_inference_service.model_files import check_files
from local_inference_service.pool_entry import Entry
from local_inference_service.room import Limits, plan_room
from marsys.v1 import (
    ErrorReason,
    LoadStage,
    ModelState,
    UnloadModelRequest,
)

MIB = 1024 * 1024
ONE_MODEL = 120 * MIB  # a tiny model takes some 80 MiB, its margin above all
READY = LoadStage.LOAD_STAGE_READY


@pytest.fixture
def serve_two(serve, tiny_directory, copy_of):
    """A server with nothing loaded, and two models that it may load."""

    async def make(**settings: Any):
        other = copy_of("other")
        bench = await serve(
            **{
                "model": "none",
                "allow_model_paths": [tiny_directory.parent, other.parent],
                **settings,
            }
        )
        return bench, str(tiny_directory), str(other)

    return make


async def test_a_load_over_the_budget_is_refused_with_the_figures(serve_two, ask):
    bench, first, second = await serve_two(memory_budget=ONE_MODEL)
    await load(bench, first)
    error = await refused(load(bench, second))
    assert error.reason == ErrorReason.ERROR_REASON_OUT_OF_MEMORY
    assert f"{second} needs 0.08 GiB" in error.message
    assert "0.04 GiB are free of the budget of 0.12 GiB" in error.message
    assert f"{first} takes 0.08 GiB" in error.message
    assert await names(bench) == [first]
    assert (await bench.inference.Generate(ask("hi", first, max_tokens=2))).model == first
    await bench.models.UnloadModel(UnloadModelRequest(model=first))
    assert (await load(bench, second))[-1].stage == READY


async def test_nothing_is_read_of_a_model_that_does_not_fit(serve_two, monkeypatch):
    from local_inference_service.adapters.factory import LocalAdapterFactory

    bench, first, _ = await serve_two(memory_budget=MIB)
    opened: list[Any] = []
    monkeypatch.setattr(
        LocalAdapterFactory, "create_adapter", lambda *given, **options: opened.append(given)
    )
    error = await refused(load(bench, first))
    assert error.reason == ErrorReason.ERROR_REASON_OUT_OF_MEMORY
    assert not opened
    assert await names(bench) == []


async def test_memory_that_others_took_is_not_given_again(serve_two, monkeypatch):
    bench, first, _ = await serve_two()
    monkeypatch.setattr("local_inference_service.room.free_memory", lambda kind: MIB)
    error = await refused(load(bench, first))
    assert error.reason == ErrorReason.ERROR_REASON_OUT_OF_MEMORY
    assert "0.00 GiB are free of the memory of cpu" in error.message


async def test_unused_models_make_room_where_the_operator_wants_it(serve_two):
    bench, first, second = await serve_two(memory_budget=ONE_MODEL, evict_idle=True)
    await load(bench, first)
    await load(bench, second)
    assert await names(bench) == [second]
    await load(bench, first)
    assert await names(bench) == [first]


async def test_a_model_in_use_never_makes_room(serve_two, ask):
    bench, first, second = await serve_two(max_models=1, evict_idle=True)
    await load(bench, first)
    stream = await started(bench, ask("hi", first, max_tokens=200, temperature=0))
    error = await refused(load(bench, second))
    assert error.reason == ErrorReason.ERROR_REASON_CONFLICT
    assert first in error.message
    assert [e async for r in stream for e in r.events][-1].HasField("finished")
    assert (await load(bench, second))[-1].stage == READY
    assert await names(bench) == [second]


async def test_the_least_recently_used_goes_first(serve_two, copy_of, ask):
    bench, first, second = await serve_two(max_models=2, evict_idle=True)
    await load(bench, first)
    await load(bench, second)
    await bench.inference.Generate(ask("hi", first, max_tokens=2))
    third = str(copy_of("third"))
    await load(bench, third)
    assert sorted(await names(bench)) == sorted([first, third])


async def test_by_default_nothing_is_dropped(serve_two):
    bench, first, second = await serve_two(max_models=1)
    await load(bench, first)
    error = await refused(load(bench, second))
    assert error.reason == ErrorReason.ERROR_REASON_CONFLICT
    assert "max_models" in error.message
    assert await names(bench) == [first]


async def test_the_start_model_stays(serve, tiny_directory, copy_of):
    other = copy_of("other")
    pinned = await serve(
        model=str(tiny_directory), max_models=1, evict_idle=True, allow_model_paths=[other.parent]
    )
    error = await refused(load(pinned, other))
    assert error.reason == ErrorReason.ERROR_REASON_CONFLICT
    free = await serve(
        model=str(tiny_directory),
        max_models=1,
        evict_idle=True,
        pin_model=False,
        allow_model_paths=[other.parent],
    )
    await load(free, other)
    assert await names(free) == [str(other)]


async def test_a_model_that_loads_takes_its_place_already(serve_two):
    bench, first, second = await serve_two(max_models=1, evict_idle=True)
    gate = Gate()
    loading = asyncio.create_task(load_plan(bench, gate.hold(plan_of(bench, first))))
    await gate.reached()
    waiting = asyncio.create_task(load(bench, second))
    gate.open()
    assert (await loading)[-1].stage == READY
    assert (await waiting)[-1].stage == READY
    assert await names(bench) == [second]


async def test_an_unused_model_is_dropped_after_a_while(serve_two, ask):
    bench, first, _ = await serve_two(idle_unload=0.05)
    gone = asyncio.Event()
    bench.app._pool.report_health(lambda name, answers: gone.set() if answers is None else None)
    await load(bench, first)
    async with asyncio.timeout(30):
        await gone.wait()
    assert await names(bench) == []
    error = await refused(bench.inference.Generate(ask("hi", first)))
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_MODEL


async def test_a_model_in_use_is_not_dropped_for_being_unused(serve_two):
    bench, first, second = await serve_two(idle_unload=0.05)
    gone = asyncio.Event()
    bench.app._pool.report_health(lambda name, answers: gone.set() if answers is None else None)
    await load_plan(bench, plan_of(bench, first))
    with bench.app._pool.use(first):
        await load(bench, second)
        async with asyncio.timeout(30):
            await gone.wait()  # the other one, which came later
        assert await names(bench) == [first]


def test_what_a_model_needs_is_read_from_its_files(tiny_directory):
    files = check_files(tiny_directory)
    wide, narrow = weight_bytes(files, "float32"), weight_bytes(files, "bfloat16")
    assert wide == 2 * narrow == weight_bytes(files, "auto") == files.nbytes
    known = {"kind": "cpu", "dtype": "float32", "max_active": 100, "most_cache": 10**12}
    need = huggingface_need(files, max_model_len=None, cache_bytes=None, **known)
    # Two layers, keys and values, one head of 32 numbers of 4 bytes; 256 tokens and those that
    # are made ready beyond; 100 requests.
    assert need.cache == 2 * 2 * 1 * 32 * 4 * (256 + 256) * 100
    assert need.total == need.weights + need.cache + need.margin
    shorter = huggingface_need(files, max_model_len=64, cache_bytes=None, **known)
    assert need.cache > shorter.cache >= 16 * MIB
    chosen = huggingface_need(files, max_model_len=None, cache_bytes=7, **known)
    assert chosen.cache == 7


def test_vllm_takes_a_share_of_the_gpu_or_its_cache(tiny_directory, monkeypatch):
    files = check_files(tiny_directory)
    known = {"dtype": "auto", "quantization": "", "share": 0.9, "gpus": 2, "gpu_bytes": 10**10}
    gpu = vllm_need(files, kind="cuda", cache_bytes=None, **known)
    assert gpu.total == 18 * 10**9
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    cpu = vllm_need(files, kind="cpu", cache_bytes=None, **known)
    assert cpu.cache == 3 * memory.GIB
    assert cpu.weights == cpu.stored == files.nbytes


def test_the_default_budget_leaves_some_of_the_machine():
    assert 0 < Limits().budget("cpu") < memory.total_memory("cpu")
    assert Limits(memory_budget=5).budget(memory.accelerator() or "cpu") == 5


def test_the_limit_of_a_container_counts(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    inner = new / "pod" / "container"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("700\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parent / "memory.current").write_text("800\n")
    (inner.parent / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    membership = tmp_path / "membership"
    membership.write_text("0::/pod/container\n")
    assert list(memory._groups(new, membership)) == [(1000, 500)]
    group = old / "memory" / "docker"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("2000\n")
    (group / "memory.usage_in_bytes").write_text("900\n")
    (old / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (old / "memory" / "memory.usage_in_bytes").write_text("900\n")
    membership.write_text("4:cpu,cpuacct:/docker\n3:memory:/docker\n")
    assert list(memory._groups(old, membership)) == [(2000, 900)]


def test_only_models_whose_going_helps_are_dropped(tiny_directory, monkeypatch):
    files = check_files(tiny_directory)
    monkeypatch.setattr("local_inference_service.room.free_memory", lambda kind: 10**12)
    monkeypatch.setattr("local_inference_service.room.total_memory", lambda kind: 10**12)

    def need(kind: str) -> MemoryNeed:
        return MemoryNeed(kind, files.nbytes, 0, 0)

    def idle(name: str, kind: str, last_used: float) -> Entry:
        plan: Any = SimpleNamespace(name=name, pinned=False)
        state = ModelState.MODEL_STATE_READY
        return Entry(plan, state, need=need(kind), last_used=last_used)

    here = memory.accelerator() or "cpu"
    there = [idle("elsewhere", "other", 1.0), idle("older", here, 2.0), idle("newer", here, 3.0)]
    limits = Limits(memory_budget=2 * files.nbytes, evict_idle=True)
    victims = plan_room(limits, need(here), "new", there)
    assert [entry.name for entry in victims] == ["older"]
    assert plan_room(limits, need(here), "new", there[:2]) == []
