"""Ctrl-C while gRPC works for a caller that blocks.

gRPC's synchronous calls are Python code and locks that they share with gRPC's own threads. An
exception that comes just as a lock is taken or given back leaves it taken (bpo-29988), and then all
later calls of the channel hang.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_Handler = Callable[[int, "FrameType | None"], Any]
_AMID = (threading.__name__, __name__)  # whose code is not to be interrupted
_AGAIN = 0.001  # seconds until a signal that came amid such code comes again


class _Guard(ABC):
    """Stands before the program's handler of SIGINT, on the main thread, where handlers run."""

    __slots__ = ("_handler", "_mine")

    def __init__(self) -> None:
        self._handler: _Handler | None = None
        self._mine: _Handler | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                self._mine = self._on_signal
                signal.signal(signal.SIGINT, self._mine)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        mine, self._mine = self._mine, None  # a cycle would keep the call until garbage collection
        if mine is not None:
            present = signal.signal(signal.SIGINT, self._handler)
            if present is not mine:  # which a handler has set meanwhile
                signal.signal(signal.SIGINT, present)

    @abstractmethod
    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Do what is to be done instead of the program's handler."""


class Uninterrupted(_Guard):
    """Keeps what a handler of SIGINT raises until gRPC has come back, which `stop` brings about.

    Handlers that raise nothing are not noticed.

        with Uninterrupted(call.cancel):
            message = next(call, None)

    Args:
        stop: called at each signal whose handler raises; None: see `stop_by`.
    """

    __slots__ = ("_raised", "_stop")

    def __init__(self, stop: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self._stop = stop
        self._raised: BaseException | None = None

    def stop_by(self, stop: Callable[[], Any]) -> None:
        """There is now what can be stopped; it is at once, if a signal has come already."""
        self._stop = stop
        if self._raised is not None:
            stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, at)
        except BaseException as raised:  # from the handler, which is back in its place
            self._keep(raised)
        kept, self._raised = self._raised, None
        if kept is not None:
            raise kept from None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        assert self._handler is not None
        try:
            self._handler(number, frame)
        except BaseException as raised:
            self._keep(raised)

    def _keep(self, raised: BaseException) -> None:
        self._raised = raised
        if self._stop is not None:
            self._stop()


class OutsideLocks(_Guard):
    """Lets a handler of SIGINT run only where no lock is being taken or given back.

    For calls that can't be cancelled but let signals through while they wait.

        with OutsideLocks():
            response = stub.Generate(request)
    """

    __slots__ = ()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        assert self._handler is not None
        if frame is not None and frame.f_globals.get("__name__") in _AMID:
            later(_AGAIN, lambda: _thread.interrupt_main(signal.Signals(number)))
        else:
            self._handler(number, frame)


def later(seconds: float, what: Callable[[], Any]) -> None:
    """Do something on a thread of its own, some seconds from now.

    A handler of a signal may call it, while threading.Timer could wait for a lock that is taken.
    """

    def wait() -> None:
        time.sleep(seconds)
        what()

    _thread.start_new_thread(wait, ())
