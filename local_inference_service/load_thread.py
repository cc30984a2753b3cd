"""A piece of a load in a thread: threads can't be killed, so what comes too late is thrown away."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


def _keep(value: object) -> None:
    """Nothing needs to be released."""


class LoadThread(Generic[T]):
    """Runs work in a thread that the end of the process doesn't wait for.

    Args:
        work: what to do.
        stop: asks the work to end early.
        discard: releases a result that nobody takes.
    """

    def __init__(
        self,
        work: Callable[[], T],
        stop: Callable[[], None],
        discard: Callable[[T], None] = _keep,
    ) -> None:
        self._work = work
        self._stop = stop
        self._discard = discard
        self._lock = threading.Lock()
        self._abandoned = False
        self._result: list[T] = []
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[T] = self._loop.create_future()
        self._done.add_done_callback(_look)
        threading.Thread(target=self._run, name="load", daemon=True).start()

    async def result(self) -> T:
        """What the work gave.

        A cancellation stops the work and waits for its end, so that its memory is free again; a
        second one leaves it to itself.

        Raises:
            Exception: what the work raised.
        """
        try:
            return await asyncio.shield(self._done)
        except asyncio.CancelledError:
            self._stop()
            await self._end()
            raise

    async def _end(self) -> None:
        try:
            value = await asyncio.shield(self._done)
        except asyncio.CancelledError:
            self._abandon()
            raise
        except Exception as error:
            log.debug("the stopped load ended with %s", error)
        else:
            await asyncio.to_thread(self._discard, value)

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            late = list(self._result)
        for value in late:  # the loop may not come to it any more
            self._discard(value)

    def _run(self) -> None:
        try:
            value = self._work()
        except BaseException as error:
            failure = error
            self._tell(lambda: self._done.set_exception(failure))
            return
        with self._lock:
            late = self._abandoned
            if not late:
                self._result.append(value)
        if late or not self._tell(lambda: self._done.set_result(value)):
            self._discard(value)

    def _tell(self, settle: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed
            return False
        return True


def _look(done: asyncio.Future[T]) -> None:
    """An error that nobody waits for any more isn't worth a warning."""
    if not done.cancelled():
        done.exception()
