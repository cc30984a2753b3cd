"""What the tests of the pool share: loads that wait at a gate, and short ways to call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from local_inference_service.model_source import find_source
from local_inference_service.pool_entry import LoadPlan
from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    GetModelRequest,
    ListModelsRequest,
    LoadModelRequest,
    LoadModelResponse,
    LoadOptions,
    StreamGenerateRequest,
)
from serving.errors import ServiceError


class Gate:
    """Holds a load in its thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()
        self.adapters: list[Any] = []
        self.closed: list[Any] = []

    def open(self) -> None:
        self._open.set()

    async def reached(self) -> None:
        await asyncio.to_thread(self.entered.wait, 30)

    def hold(self, plan: LoadPlan) -> LoadPlan:
        def held(*given: Any) -> Any:
            self.entered.set()
            assert self._open.wait(60)
            adapter = plan.open(*given)
            self.adapters.append(adapter)
            close = adapter.close

            def closing() -> None:
                self.closed.append(adapter)
                close()

            adapter.close = closing
            return adapter

        return replace(plan, open=held)


def plan_of(bench: Any, directory: Path, **options: Any) -> LoadPlan:
    name = str(directory)
    return bench.app._plans.make(name, find_source(name, ""), LoadOptions(**options))


async def load(bench: Any, model: object, **options: Any) -> list[LoadModelResponse]:
    request = LoadModelRequest(model=str(model), options=LoadOptions(**options))
    return [step async for step in bench.models.LoadModel(request)]


async def load_plan(bench: Any, plan: LoadPlan) -> list[LoadModelResponse]:
    return [step async for step in bench.app._pool.load(plan)]


async def refused(awaitable: Any) -> Any:
    with pytest.raises((grpc.aio.AioRpcError, ServiceError)) as caught:
        await awaitable
    if isinstance(caught.value, ServiceError):
        return caught.value.error
    return from_rpc_error(caught.value)


async def state_of(bench: Any, model: object) -> Any:
    return (await bench.models.GetModel(GetModelRequest(name=str(model)))).model.state


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the event loop does by itself in a few turns."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def names(bench: Any) -> list[str]:
    return [m.name for m in (await bench.models.ListModels(ListModelsRequest())).models]


def entries(bench: Any) -> list[Any]:
    return list(bench.app._pool._models)


def state_now(bench: Any, model: object) -> Any:
    return bench.app._pool.describe(str(model)).state


async def started(bench: Any, request: Any) -> AsyncIterator[Any]:
    """A stream that has given its first response."""
    stream = aiter(bench.inference.StreamGenerate(StreamGenerateRequest(request=request)))
    await anext(stream)
    return stream


async def everything(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass
