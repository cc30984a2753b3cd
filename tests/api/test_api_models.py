"""ModelService of api_service."""

from __future__ import annotations

import grpc
import pytest
from api_upstream import Caller, Serve, Upstream, reply

from api_service.providers.table import OPENAI_CHAT, OPENROUTER, XAI
from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    ErrorReason,
    GetModelRequest,
    ListModelsRequest,
    LoadModelRequest,
    ModelState,
    UnloadModelRequest,
)

LIST = {
    "data": [
        {
            "id": "b/two",
            "context_length": 4096,
            "top_provider": {"max_completion_tokens": 1024},
            "architecture": {"input_modalities": ["text", "image", "file"]},
            "supported_parameters": ["tools", "reasoning"],
        },
        {"id": "a/one"},
        {"no": "id"},
    ]
}


@pytest.fixture
async def caller(serve: Serve, upstream: Upstream) -> Caller:
    """A client of a service with three providers, whose model lists are of one form."""
    rows = {row.name: row for row in (OPENAI_CHAT, OPENROUTER, XAI)}
    providers = {name: {"base_url": upstream.url, "api_key": "k"} for name in rows}
    return await serve(rows=rows, providers=providers)


async def test_models_of_all_providers_by_pages(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(200, LIST))
    names: list[str] = []
    token = ""
    while True:
        page = await caller.models.ListModels(ListModelsRequest(page_size=4, page_token=token))
        names += [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            break
    providers = ("openai", "openrouter", "xai")
    assert names == [f"{name}/{model}" for name in providers for model in ("a/one", "b/two")]
    assert {(seen.method, seen.path) for seen in upstream.seen} == {("GET", "/v1/models")}


async def test_what_is_known_of_a_model(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(200, LIST))
    found = (await caller.models.GetModel(GetModelRequest(name="openrouter/b/two"))).model
    assert found.provider == "openrouter"
    assert found.state == ModelState.MODEL_STATE_AVAILABLE
    assert (found.context_length, found.max_output_tokens) == (4096, 1024)
    assert found.capabilities.tools
    assert not found.capabilities.structured_output
    assert list(found.capabilities.input_modalities) == ["image", "document"]


@pytest.mark.parametrize("name", ["openrouter/nope", "nobody/x"])
async def test_unknown_model(caller: Caller, upstream: Upstream, name: str) -> None:
    upstream.script(reply(200, LIST))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.models.GetModel(GetModelRequest(name=name))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert from_rpc_error(caught.value).field == "name"


async def test_failing_provider_is_skipped_unless_asked_for(
    caller: Caller, upstream: Upstream
) -> None:
    fine, broken = reply(200, LIST), reply(500, {"error": {"message": "down"}})
    upstream.script(broken, fine, fine)
    page = await caller.models.ListModels(ListModelsRequest())
    assert len(page.models) == 4
    upstream.script(broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.models.ListModels(ListModelsRequest(provider="xai"))
    error = from_rpc_error(caught.value)
    assert error.reason == ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
    assert error.provider == "xai"


async def test_providers_without_a_key_are_not_asked(serve: Serve, upstream: Upstream) -> None:
    caller = await serve(providers={"openai": {"base_url": upstream.url}})
    assert not (await caller.models.ListModels(ListModelsRequest())).models
    assert not upstream.seen


@pytest.mark.parametrize(
    "body", [b"<html>", {"data": 5}, {"error": "x"}, [], {"data": [1, None, {"id": 5}]}]
)
async def test_odd_lists(caller: Caller, upstream: Upstream, body: object) -> None:
    upstream.script(reply(200, body))
    request = ListModelsRequest(provider="openai")
    try:
        assert not (await caller.models.ListModels(request)).models
    except grpc.aio.AioRpcError as error:
        assert from_rpc_error(error).reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE


async def test_page_size_is_checked(caller: Caller) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.models.ListModels(ListModelsRequest(page_size=1001))
    assert from_rpc_error(caught.value).field == "page_size"


async def test_remote_models_are_not_loaded(caller: Caller) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in caller.models.LoadModel(LoadModelRequest(model="m")):
            pass
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.models.UnloadModel(UnloadModelRequest(model="m"))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
