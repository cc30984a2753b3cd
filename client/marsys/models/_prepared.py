"""A call that can be made: its request is built and checked, nothing is sent yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from marsys.models._steps import Clock, Generate, LoopDriver, SyncDriver
from marsys.models._stream import ResponseStream
from marsys.models.response import HarmonizedResponse
from marsys.v1 import GenerateRequest

if TYPE_CHECKING:
    from marsys.models._caller import ModelCaller


class PreparedCall:
    """A call of one model.

    Args:
        model: whom to ask.
        request: what to ask.
        timeout: how long the call may take in all, in seconds; None: without end.
        max_retries: most retries that the service makes, for the log.
    """

    def __init__(
        self,
        model: ModelCaller,
        request: GenerateRequest,
        timeout: float | None,
        max_retries: int,
    ) -> None:
        self.model = model
        self.timeout = timeout
        self._request = request
        self._max_retries = max_retries

    def start(self, clock: Clock) -> Any:
        """Begin the call without waiting: a future, for `block` or `wait`."""
        return SyncDriver(self.model._connection, clock).start(Generate(self._request))

    def block(self, clock: Clock, started: Any = None) -> HarmonizedResponse:
        """Make the call on the calling thread.

        Args:
            clock: the call's time.
            started: what `start` gave, where it was called.

        Raises:
            ModelAPIError: the call failed.
        """
        steps = self.model._asking(self._request, clock.timeout)
        proto = SyncDriver(self.model._connection, clock).run(steps, started)
        return self.model._told(proto, self._request)

    async def wait(self, clock: Clock, started: Any = None) -> HarmonizedResponse:
        """The same as `block`, on the running event loop."""
        steps = self.model._asking(self._request, clock.timeout)
        proto = await LoopDriver(self.model._connection, clock).run(steps, started)
        return self.model._told(proto, self._request)

    def stream(self, begin: Callable[[], Clock]) -> ResponseStream:
        """The answer as it comes.

        Args:
            begin: starts the call's time.
        """
        return ResponseStream(
            self.model._connection,
            lambda timeout: self.model._opening(self._request, timeout),
            begin,
            self._max_retries,
        )
