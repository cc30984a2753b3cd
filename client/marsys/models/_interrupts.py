"""Ctrl-C while gRPC reads for a caller that blocks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_Handler = Callable[[int, "FrameType | None"], Any]


class Uninterrupted:
    """Keeps what a handler of SIGINT raises until gRPC has come back; its call is cancelled.

    gRPC's synchronous calls are Python code and locks that they share with gRPC's own thread. An
    exception that comes just as a lock is taken or given back leaves it taken (bpo-29988), and
    then all later calls of the channel hang. Handlers that raise nothing are not noticed.

        with Uninterrupted(call):
            message = next(call, None)

    Args:
        call: what is cancelled; None: nothing yet, see `call`.

    Attributes:
        call: may be set once it is made.
    """

    __slots__ = ("_handler", "_mine", "_raised", "call")

    def __init__(self, call: Any = None) -> None:
        self.call = call
        self._raised: BaseException | None = None
        self._handler: _Handler | None = None

    def __enter__(self) -> Uninterrupted:
        if threading.current_thread() is threading.main_thread():  # where handlers run
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                self._mine: _Handler = self._on_signal
                signal.signal(signal.SIGINT, self._mine)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._handler is not None:
            present = signal.signal(signal.SIGINT, self._handler)
            if present is not self._mine:  # which a handler has set meanwhile
                signal.signal(signal.SIGINT, present)
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised from None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        assert self._handler is not None
        try:
            self._handler(number, frame)
        except BaseException as raised:
            self._raised = raised
            if self.call is not None:
                self.call.cancel()
