"""The steps of a load on their way from the thread that loads to the callers who watch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from local_inference_service.progress import LoadError
from marsys.v1 import LoadModelResponse, LoadStage

_SHARES = 100  # steps of a stage whose bytes are known
_APART = 16 * 1024 * 1024  # bytes between two steps where the total isn't known


class LoadStopped(LoadError):
    """Raised in the thread that loads, at its next step, once nobody wants the model any more."""


class LoadSteps:
    """What a load has come to. Used from one event loop.

    Each stage keeps its last step only, so a caller who reads slowly misses steps, not stages, and
    takes no memory.
    """

    def __init__(self) -> None:
        self._last: dict[LoadStage.ValueType, tuple[int, LoadModelResponse]] = {}
        self._count = 0
        self._ended = False
        self._readers: set[asyncio.Event] = set()

    def tell(self, step: LoadModelResponse) -> None:
        """A step was made."""
        self._count += 1
        self._last.pop(step.stage, None)  # the newest stands last
        self._last[step.stage] = (self._count, step)
        self._wake()

    def end(self) -> None:
        """No more steps will come."""
        self._ended = True
        self._wake()

    async def read(self) -> AsyncIterator[LoadModelResponse]:
        """The steps from the present one on, until the end."""
        changed = asyncio.Event()
        self._readers.add(changed)
        seen = self._count - 1
        try:
            while True:
                changed.clear()
                ended = self._ended
                for number, step in list(self._last.values()):
                    if number > seen:
                        seen = number
                        yield step
                if ended:
                    return
                await changed.wait()
        finally:
            self._readers.discard(changed)

    def _wake(self) -> None:
        for changed in self._readers:
            changed.set()


class ThreadProgress:
    """The Progress of a load: called in the thread that loads, tells the loop's LoadSteps.

    Bytes only grow within a stage, and a stage makes some hundred steps at most.

    Args:
        steps: told of each step.
        loop: where `steps` is used.
    """

    def __init__(self, steps: LoadSteps, loop: asyncio.AbstractEventLoop) -> None:
        self._steps = steps
        self._loop = loop
        self._lock = threading.Lock()  # a download calls from several threads
        self._stopped = threading.Event()
        self._stage: LoadStage.ValueType | None = None
        self._completed: int | None = None
        self._total: int | None = None

    def stop(self) -> None:
        """Make the next step raise LoadStopped. May be called from any thread."""
        self._stopped.set()

    def __call__(
        self, stage: LoadStage.ValueType, completed: int | None, total: int | None, /
    ) -> None:
        if self._stopped.is_set():
            raise LoadStopped("the load was stopped")
        with self._lock:
            if not self._is_news(stage, completed, total):
                return
            self._stage, self._completed, self._total = stage, completed, total
            step = LoadModelResponse(stage=stage, completed_bytes=completed, total_bytes=total)
            try:
                self._loop.call_soon_threadsafe(self._steps.tell, step)
            except RuntimeError:  # the loop is closed
                raise LoadStopped("the service has stopped") from None

    def _is_news(
        self, stage: LoadStage.ValueType, completed: int | None, total: int | None
    ) -> bool:
        if stage != self._stage or (self._completed is None and completed is not None):
            return True
        if completed is None or self._completed is None:
            return False
        gained = completed - self._completed
        if total is None:
            return gained >= _APART
        return gained > 0 and (completed >= total or gained * _SHARES >= total)
