"""A call that can't be made yet, because the service starts: what gRPC's future would be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import grpc


class DeferredCall(Future[Any]):
    """A future of a call's outcome, made and waited for on a thread of its own.

    Args:
        make: makes the call, which may block, and gives gRPC's future.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._call: Any = None
        self._guard = threading.Lock()
        threading.Thread(target=self._follow, args=(make,), name="marsys-call", daemon=True).start()

    def cancel(self) -> bool:
        """Stop the call, made or not. Returns whether it was still running."""
        cancelled = super().cancel()
        with self._guard:
            if cancelled and self._call is not None:
                self._call.cancel()
        return cancelled

    def _follow(self, make: Callable[[], Any]) -> None:
        try:
            call = make()
            with self._guard:
                self._call = call
                if self.cancelled():
                    call.cancel()
            outcome = call.result()
        except grpc.FutureCancelledError:
            self.cancel()
        except BaseException as error:
            if self.set_running_or_notify_cancel():
                self.set_exception(error)
        else:
            if self.set_running_or_notify_cancel():
                self.set_result(outcome)
