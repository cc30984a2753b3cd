"""What vLLM's processes write while they start: it holds the cause where the start fails."""

from __future__ import annotations

import os
import re
import threading
from types import TracebackType
from typing import Self

_STDERR = 2
_KEPT = 256 * 1024  # bytes
# The last line of a traceback: the exception's name, a colon, the text.
_CAUSE = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)): (.+)$")
_HINT = re.compile(r"See (?:root cause above|stack trace for root cause)")


class Stderr:
    """While it is open, what this process and its children write to stderr is kept, and passed on.

    Children that were started meanwhile write through it for as long as they live.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def __enter__(self) -> Self:
        self._real = os.dup(_STDERR)
        reading, writing = os.pipe()
        os.dup2(writing, _STDERR)
        os.close(writing)
        self._thread = threading.Thread(
            target=self._pass_on, args=(reading, os.dup(self._real)), name="vllm-stderr",
            daemon=True,
        )  # fmt: skip
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.dup2(self._real, _STDERR)
        os.close(self._real)

    def cause(self, error: BaseException) -> str:
        """Why the start failed, in a line: of vLLM's processes where the error only hints at it."""
        text = str(error).strip() or type(error).__name__
        if not _HINT.search(text):
            return _line(text)
        lines = bytes(self._kept).decode(errors="replace").splitlines()
        for line in reversed(lines):
            found = _CAUSE.search(line)
            if found and not _HINT.search(line):
                return f"vLLM's engine says: {found[1]}: {found[2]}"
        return _line(text)

    def _pass_on(self, reading: int, real: int) -> None:
        while block := os.read(reading, 65536):
            self._kept += block
            del self._kept[:-_KEPT]
            view = memoryview(block)
            while view:
                view = view[os.write(real, view) :]
        os.close(reading)
        os.close(real)


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else " ".join(lines)[:500]
