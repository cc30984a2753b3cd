"""An event loop in a thread of its own, for what serves a test from beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs until `end`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def do(self, work: Coroutine[Any, Any, T], seconds: float = 30) -> T:
        """What the work gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def soon(self, call: Callable[[], object]) -> None:
        """Call something on the loop, without waiting for it."""
        self._loop.call_soon_threadsafe(call)

    def end(self) -> None:
        """Cancel what still runs, wait for it, and end. Left to the garbage, it would complain."""
        self.do(_cancel_all())
        self.do(self._loop.shutdown_asyncgens())
        self.soon(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
