"""Calls that somebody else ends: another task, another thread, `cancel`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time

import pytest
from client_scripted import events_of, text
from client_talking import TalkingService

from marsys.models import BaseAPIModel

HELLO = [{"role": "user", "content": "Hello!"}]


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["await", "read"])
async def test_a_pending_response_that_is_cancelled(service, api_model, how):
    service.hang()
    pending = api_model.run(HELLO)
    assert pending.cancel()
    cancelled = asyncio.CancelledError if how == "await" else concurrent.futures.CancelledError
    with pytest.raises(cancelled):
        _ = (await pending) if how == "await" else pending.result()
    assert pending.done()
    assert not pending.cancel()


def test_a_stream_may_be_closed_while_its_first_chunk_is_waited_for(service, api_model):
    service.hang()
    stream = api_model.stream(HELLO)
    closer = threading.Thread(target=lambda: (wait_for(lambda: service.requests), stream.close()))
    closer.start()
    assert list(stream) == []
    closer.join()
    wait_for(lambda: service.cancelled == 1)


@pytest.mark.parametrize("begun", [False, True])
async def test_another_task_may_close_a_stream(service, api_model, begun):
    service.hang(after=events_of(text("one two"))[: 3 if begun else 0])
    stream = api_model.stream(HELLO)

    async def read() -> list[str]:
        return [chunk["content"] async for chunk in stream]

    reading = asyncio.create_task(read())
    while not service.requests:
        await asyncio.sleep(0.01)
    await stream.aclose()
    assert "".join(await reading) in ("", "one ")
    assert not reading.cancelled()
    await asyncio.to_thread(wait_for, lambda: service.cancelled == 1)


async def test_another_thread_may_close_a_stream_of_a_loop(service, api_model):
    service.hang(after=events_of(text("one two"))[:3])
    stream = api_model.stream(HELLO)
    assert (await anext(stream))["content"] == "one "
    await asyncio.to_thread(stream.close)
    assert [chunk async for chunk in stream] == []
    await asyncio.to_thread(wait_for, lambda: service.cancelled == 1)


async def test_a_task_that_was_cancelled_before_may_still_read():
    """As code does that cleans up after a cancellation."""
    talking = TalkingService().begin()
    model = BaseAPIModel("p", "m", target=talking.address)

    def answer() -> None:
        talking.wait()
        time.sleep(0.5)  # longer than a look at the task takes
        talking.release()

    async def work() -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            threading.Thread(target=answer).start()
            return model.run("wait Hi")["content"]
        return ""

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "Hi "
    await asyncio.to_thread(talking.end)
