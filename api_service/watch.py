"""Ends waits that take too long, as asyncio.timeout does, at a fraction of its cost.

asyncio.timeout makes a timer for each wait and takes it back after it; chunks come by the thousand,
and hardly a wait is ever too long. A Watch keeps one timer, which looks whether a wait is over its
time when it goes off.
"""

from __future__ import annotations

import asyncio
import math
import time
from types import TracebackType

# The timer goes off this often, so that a wait that ends sooner than the last one is not missed.
_LOOK = 5.0  # seconds


class Watch:
    """Watches over the waits of the running task, one at a time.

        watch.until(moment)
        with watch:
            await ...

    The wait raises TimeoutError once the moment has come. `close` ends the watch.
    """

    __slots__ = ("_cancels", "_expired", "_moment", "_task", "_timer", "_timer_at", "_waits")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._waits = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._moment = math.inf
        self._cancels = 0
        self._expired = False

    def until(self, moment: float) -> Watch:
        """Say when the next wait is over its time, in seconds of time.monotonic()."""
        self._moment = moment
        return self

    def __enter__(self) -> None:
        self._waits = True
        self._cancels = self._task.cancelling()
        self._expired = False
        if self._moment < self._timer_at:
            self._set_timer()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._waits = False
        # Whoever else cancels the task comes first.
        if (
            self._expired
            and self._task.uncancel() <= self._cancels
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def close(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic()
        wait = min(max(self._moment - now, 0.0), _LOOK)
        self._timer_at = now + wait
        self._timer = self._task.get_loop().call_later(wait, self._look)

    def _look(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if not self._waits:
            return  # the next wait sets the timer
        if time.monotonic() < self._moment:
            self._set_timer()
        elif not self._expired:
            self._expired = True
            self._task.cancel()
