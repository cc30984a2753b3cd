"""Models that stand in for one another, where time runs out or the caller loses interest."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from client_asking import HELLO, WAYS, asked, asked_of, failure
from client_scripted import ScriptedService, events_of, text

from marsys.agents.exceptions import ModelTimeoutError
from marsys.models import BaseAPIModel, BaseLocalModel


@pytest.fixture
def first(service: ScriptedService) -> BaseAPIModel:
    return BaseAPIModel("openrouter", "vendor/first", target=service.address)


@pytest.fixture
def second(other_service: ScriptedService) -> BaseLocalModel:
    return BaseLocalModel("second", target=other_service.address)


@WAYS
def test_the_timeout_of_a_call_is_that_of_all_models(service, other_service, first, second, how):
    service.hang()
    other_service.say(text("Hi"))
    with pytest.raises(ModelTimeoutError, match=r"within 0\.3 s"):
        asked(first.with_fallback(second), how, timeout=0.3)
    assert other_service.requests == []


@WAYS
def test_a_models_own_timeout_leaves_time_for_the_next(service, other_service, second, how):
    service.hang()
    other_service.say(text("Hi"))
    hurried = BaseAPIModel("openai", "m", target=service.address, timeout=0.3)
    content, response = asked(hurried.with_fallback(second), how, timeout=60)
    assert content == "Hi"
    assert response.metadata.failed_models[0]["classification"] == "timeout"


@WAYS
def test_both_hang(service, other_service, how):
    service.hang()
    other_service.hang()
    models = [
        BaseAPIModel("openai", name, target=scripted.address, timeout=seconds)
        for name, scripted, seconds in (("a", service, 0.2), ("b", other_service, 60))
    ]
    with pytest.raises(ModelTimeoutError, match=r"within 0\.8 s") as caught:
        asked(models[0].with_fallback(models[1]), how, timeout=0.8)
    assert caught.value.context["failed_models"][0]["message"] == "no whole answer within 0.2 s"


@pytest.mark.parametrize("how", ["arun", "pending", "astream"])
async def test_a_cancelled_call_does_not_fall_back(service, other_service, first, second, how):
    service.hang()
    other_service.say(text("Hi"))
    model = first.with_fallback(second)
    call: Any = {
        "arun": lambda: model.arun(HELLO),
        "pending": lambda: model.run(HELLO),
        "astream": lambda: anext(model.stream(HELLO)),
    }[how]()
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)  # it runs now
    while not service.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while service.cancelled < 1:
        await asyncio.sleep(0.01)
    assert other_service.requests == []


async def test_a_pending_response_is_done_when_a_model_has_answered(
    service, other_service, first, second
):
    service.fail(failure("RATE_LIMIT"))
    other_service.hang()
    pending = first.with_fallback(second).run(HELLO)
    task = asyncio.ensure_future(asyncio.wait_for(pending, 60))
    await asyncio.sleep(0)
    while not other_service.requests:
        await asyncio.sleep(0.01)
    assert not pending.done()
    assert pending.cancel()  # reaches the second model's call
    while other_service.cancelled < 1:
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pending.done()


def test_a_closed_stream_asks_nobody_else(service, other_service, first, second):
    service.hang(after=events_of(text("one two"))[:3])
    with first.with_fallback(second).stream(HELLO) as stream:
        assert next(stream)["content"] == "one "
    assert list(stream) == []
    end = time.monotonic() + 20
    while service.cancelled < 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert other_service.requests == []


def test_a_stream_that_is_closed_while_it_is_waited_for_asks_nobody_else(
    service, other_service, first, second
):
    service.hang()
    stream = first.with_fallback(second).stream(HELLO)
    closer = threading.Thread(target=lambda: (asked_of(service), stream.close()))
    closer.start()
    assert list(stream) == []
    closer.join()
    assert other_service.requests == []
