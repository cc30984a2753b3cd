"""Waits that are too long are ended, each at its time, and nobody else's cancellation is lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from api_service.watch import Watch


def after(seconds: float) -> float:
    return time.monotonic() + seconds


async def test_a_wait_ends_when_it_is_over_its_time() -> None:
    watch = Watch()
    with pytest.raises(TimeoutError), watch.until(after(0.01)):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # the task goes on
    watch.close()


async def test_each_wait_has_its_own_time() -> None:
    watch = Watch()
    with watch.until(after(600)):
        await asyncio.sleep(0)
    # Shorter than the one before.
    with pytest.raises(TimeoutError), watch.until(after(0.02)):
        await asyncio.Event().wait()
    for _ in range(3):
        with watch.until(after(0.03)):
            await asyncio.sleep(0.02)
    with watch.until(after(600)):  # longer: the timer of those before comes too early
        await asyncio.sleep(0.1)
    watch.close()


async def test_time_between_waits_does_not_count() -> None:
    watch = Watch()
    with watch.until(after(0.02)):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    with watch.until(after(600)):
        await asyncio.sleep(0.01)
    watch.close()


async def test_a_time_that_has_come_ends_the_wait_at_once() -> None:
    watch = Watch()
    with pytest.raises(TimeoutError), watch.until(after(-1)):
        await asyncio.Event().wait()
    watch.close()


async def test_what_the_wait_raises_passes() -> None:
    watch = Watch()
    with pytest.raises(KeyError), watch.until(after(600)):
        raise KeyError
    watch.close()


async def test_cancellation_by_others_comes_first() -> None:
    waiting = asyncio.Event()

    async def work() -> None:
        watch = Watch()
        try:
            with watch.until(after(0.02)):
                waiting.set()
                await asyncio.Event().wait()
        finally:
            watch.close()

    task = asyncio.create_task(work())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Also where both come together.
    waiting.clear()
    task = asyncio.create_task(work())
    await waiting.wait()
    time.sleep(0.05)  # its time comes while nothing runs
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises((asyncio.CancelledError, TimeoutError)) as caught:
        await task
    assert caught.type is asyncio.CancelledError or task.cancelling() == 1


async def test_closed_it_leaves_no_timer() -> None:
    loop = asyncio.get_running_loop()
    fired = []
    real = loop.call_later

    def counted(delay: float, callback, *arguments, **options):
        handle = real(delay, callback, *arguments, **options)
        fired.append(handle)
        return handle

    loop.call_later = counted  # type: ignore[method-assign]
    try:
        watch = Watch()
        for _ in range(100):
            with watch.until(after(600)):
                await asyncio.sleep(0)
        watch.close()
    finally:
        loop.call_later = real  # type: ignore[method-assign]
    assert len(fired) == 1
    assert all(handle.cancelled() for handle in fired)
