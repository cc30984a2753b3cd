"""A question asked in every way there is, and the errors that a service may answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from client_scripted import ScriptedService

from marsys.v1 import ErrorReason, ModelError

HELLO = [{"role": "user", "content": "Hello!"}]


def failure(reason: str, message: str = "no") -> ModelError:
    return ModelError(reason=ErrorReason.Value(f"ERROR_REASON_{reason}"), message=message)


def asked(model: Any, how: str, **kwargs: Any) -> tuple[str, Any]:
    """The text and the response, asked for in one of the ways there are."""
    if how == "run":
        response = model.run(HELLO, **kwargs)
        return response["content"], response
    if how == "arun":
        response = asyncio.run(model.arun(HELLO, **kwargs))
        return response["content"], response
    if how in ("pending", "read"):

        async def pending() -> Any:
            call = model.run(HELLO, **kwargs)
            return await call if how == "pending" else call.result()

        response = asyncio.run(pending())
        return response["content"], response
    stream = model.stream(HELLO, **kwargs)
    if how == "stream":
        return "".join(chunk["content"] for chunk in stream), stream.response

    async def read() -> str:
        return "".join([chunk["content"] async for chunk in stream])

    return asyncio.run(read()), stream.response


def asked_of(service: ScriptedService, calls: int = 1) -> None:
    end = time.monotonic() + 20
    while len(service.requests) < calls:
        assert time.monotonic() < end
        time.sleep(0.01)


WAYS = pytest.mark.parametrize("how", ["run", "arun", "pending", "read", "stream", "astream"])
STREAMS = pytest.mark.parametrize("how", ["stream", "astream"])
