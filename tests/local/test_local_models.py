"""Loading, listing and unloading models."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    ErrorReason,
    GetModelRequest,
    ListModelsRequest,
    LoadModelRequest,
    LoadOptions,
    LoadStage,
    ModelState,
    StreamGenerateRequest,
    UnloadModelRequest,
)


async def load(bench, model: str, **options) -> list:
    request = LoadModelRequest(model=model, options=LoadOptions(**options))
    return [step async for step in bench.models.LoadModel(request)]


async def refused(awaitable):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return from_rpc_error(caught.value)


@pytest.fixture
async def empty(serve, tiny_directory):
    return await serve(model="none", allow_model_paths=[tiny_directory.parent])


async def test_load_use_unload(empty, tiny_directory, ask):
    name = str(tiny_directory)
    steps = await load(empty, name)
    stages = [step.stage for step in steps]
    assert stages[-2:] == [LoadStage.LOAD_STAGE_WARMING_UP, LoadStage.LOAD_STAGE_READY]
    assert LoadStage.LOAD_STAGE_LOADING in stages
    assert steps[-1].model.state == ModelState.MODEL_STATE_READY
    assert steps[-1].model.memory_bytes > 10_000
    assert steps[-1].model.context_length == 256
    listed = await empty.models.ListModels(ListModelsRequest())
    assert [model.name for model in listed.models] == [name]
    assert (await empty.models.GetModel(GetModelRequest(name=name))).model == steps[-1].model
    assert (await empty.inference.Generate(ask("hi", name, max_tokens=2))).model == name
    await empty.models.UnloadModel(UnloadModelRequest(model=name))
    error = await refused(empty.inference.Generate(ask("hi", name)))
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_MODEL
    assert not (await empty.models.ListModels(ListModelsRequest())).models


async def test_concurrent_loads_join(empty, tiny_directory):
    name = str(tiny_directory)
    loads = await asyncio.gather(*[load(empty, name) for _ in range(4)])
    ready = [steps[-1] for steps in loads]
    assert all(step.stage == LoadStage.LOAD_STAGE_READY for step in ready)
    assert len(empty.app.generator._pool.models()) == 1
    assert [step.stage for step in await load(empty, name)] == [LoadStage.LOAD_STAGE_READY]


async def test_other_options_than_those_loaded_are_a_conflict(empty, tiny_directory):
    await load(empty, str(tiny_directory), torch_dtype="float32")
    await load(empty, str(tiny_directory))  # asks for nothing in particular
    error = await refused(load(empty, str(tiny_directory), torch_dtype="bfloat16"))
    assert error.reason == ErrorReason.ERROR_REASON_CONFLICT
    assert error.field == "options.torch_dtype"


async def test_unloading_waits_for_running_calls(tiny, ask):
    call = tiny.inference.StreamGenerate(
        StreamGenerateRequest(request=ask("hi", max_tokens=100, temperature=0))
    )
    stream = aiter(call)
    await anext(stream)
    unloading = tiny.models.UnloadModel(UnloadModelRequest(model="tiny"))
    events = [event async for response in stream for event in response.events]
    assert events[-1].HasField("finished")
    await unloading


async def test_a_drain_timeout_ends_running_calls(tiny, ask):
    call = tiny.inference.StreamGenerate(
        StreamGenerateRequest(request=ask("hi", max_tokens=240, temperature=0))
    )
    stream = aiter(call)
    await anext(stream)
    request = UnloadModelRequest(model="tiny")
    request.drain_timeout.FromMilliseconds(1)
    await tiny.models.UnloadModel(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [response async for response in stream]
    assert from_rpc_error(caught.value).reason == ErrorReason.ERROR_REASON_MODEL_NOT_LOADED


async def test_paths_are_loaded_only_where_the_operator_allows(serve, tiny_directory, tmp_path):
    bench = await serve(model="none", allow_model_paths=[tmp_path])
    for path in (str(tiny_directory), f"{tmp_path}/../{tiny_directory.name}", "/etc", "./x"):
        error = await refused(load(bench, path))
        assert error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
        assert error.field == "model"


async def test_max_model_len_shortens_the_context(empty, tiny_directory, ask):
    await load(empty, str(tiny_directory), max_model_len=32)
    error = await refused(empty.inference.Generate(ask("x" * 40, str(tiny_directory))))
    assert error.token_limit == 32


async def test_pages(empty, copy_of, tiny_directory):
    await load(empty, str(tiny_directory))
    page = await empty.models.ListModels(ListModelsRequest(page_size=1))
    assert (len(page.models), page.next_page_token) == (1, "")
    error = await refused(empty.models.ListModels(ListModelsRequest(page_size=-1)))
    assert error.field == "page_size"
    none = await empty.models.ListModels(ListModelsRequest(provider="vllm"))
    assert not none.models


async def test_what_is_not_known(empty):
    for call in (
        empty.models.GetModel(GetModelRequest(name="x")),
        empty.models.UnloadModel(UnloadModelRequest(model="x")),
    ):
        assert (await refused(call)).reason == ErrorReason.ERROR_REASON_INVALID_MODEL
    assert (await refused(load(empty, " "))).field == "model"
