"""Standard input as a lifeline: where it is a pipe from the parent, it ends with the parent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_STDIN = 0


def watch_stdin(stop: Callable[[], object], patience: float) -> None:
    """Watch in the background whether standard input ends.

    Args:
        stop: called, on another thread, when it does.
        patience: seconds after which the process is ended the hard way if it is still there: a
            model that is being loaded can't be interrupted.
    """

    def watch() -> None:
        with suppress(OSError):
            while os.read(_STDIN, 4096):
                pass
        with suppress(RuntimeError):  # the event loop has ended already
            stop()
        time.sleep(patience)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
