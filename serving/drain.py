"""Which calls are running, and whether new ones are taken: what an orderly shutdown needs."""

from __future__ import annotations

import asyncio
import math
import time

from marsys.v1 import ErrorReason
from serving.errors import ServiceError, service_error


def shutting_down() -> ServiceError:
    """SHUTTING_DOWN: another instance may answer."""
    return service_error(ErrorReason.ERROR_REASON_SHUTTING_DOWN, "the service is shutting down")


class Drain:
    """Counts the running calls and refuses new ones once the service is closing.

        with drain:
            ...  # a call runs

    Entering raises ServiceError (SHUTTING_DOWN) while the service is closing.
    """

    def __init__(self) -> None:
        self.closing = False
        self._closed = asyncio.Event()
        self._deadline = math.inf
        self._running = 0
        self._idle = asyncio.Event()  # the last call has ended while the service was closing

    @property
    def running(self) -> int:
        """How many calls are running."""
        return self._running

    @property
    def left(self) -> float:
        """How long running calls still have, in seconds; without end while nothing closes."""
        return max(self._deadline - time.monotonic(), 0.0)

    async def wait_closing(self) -> None:
        """Wait until the service is closing."""
        await self._closed.wait()

    def __enter__(self) -> None:
        if self.closing:
            raise shutting_down()
        self._running += 1

    def __exit__(self, *error: object) -> None:
        self._running -= 1
        if self.closing and not self._running:
            self._idle.set()

    async def close(self, grace: float) -> bool:
        """Refuse new calls and wait for the running ones.

        Args:
            grace: how long to wait, in seconds.

        Returns:
            Whether all calls have ended.
        """
        self.closing = True
        self._deadline = time.monotonic() + grace
        self._closed.set()
        if not self._running:
            return True
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
