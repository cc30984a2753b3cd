"""How long an attempt may wait."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from marsys.v1 import CallPolicy

# gRPC itself cancels the call at its deadline, and says so best: let it come first.
_SLACK = 1.0
# How often over a provider that shows life may take the first-token wait.
_PATIENCE = 6


@dataclass(frozen=True, slots=True)
class Waits:
    """Waits, in seconds, where the caller sets none.

    Attributes:
        first_token: for the first content of a stream.
        answer: for a whole answer, which begins to come when the model is done.
        idle: between two chunks of what has begun.
    """

    first_token: float = 300.0
    answer: float = 600.0
    idle: float = 120.0


_DEFAULTS = Waits()


class Timers:
    """The waits of one attempt: for first content, then between chunks; never past the deadline.

    A wait for first content that the caller set is kept to the letter. The service's own is for a
    provider that is silent: one that shows life (comments, pings, headers) while its model thinks
    begins it anew, up to six times as long in all. Killing and repeating such an attempt would
    only cost its tokens again.

    Args:
        policy: what the caller set.
        deadline: when the caller stops waiting, in seconds of time.monotonic(); None is never.
        stream: whether the answer comes piece by piece.
        waits: what holds where the caller set nothing.

    Attributes:
        has_content: whether the first content has come.
    """

    def __init__(
        self,
        policy: CallPolicy,
        deadline: float | None,
        stream: bool = True,
        waits: Waits = _DEFAULTS,
    ) -> None:
        now = time.monotonic()
        self._strict = policy.HasField("first_token_timeout")
        self._first = waits.first_token if stream else waits.answer
        if self._strict:
            self._first = policy.first_token_timeout.ToMilliseconds() / 1000
        self._idle = waits.idle
        if policy.HasField("idle_timeout"):
            self._idle = policy.idle_timeout.ToMilliseconds() / 1000
        self._deadline = math.inf if deadline is None else deadline + _SLACK
        self._first_until = now + self._first
        self._patience_until = now + self._first * (1 if self._strict else _PATIENCE)
        self.has_content = False

    def alive(self) -> None:
        """The provider has sent something."""
        if not self._strict:
            self._first_until = min(time.monotonic() + self._first, self._patience_until)

    def content(self) -> None:
        """The first content has come."""
        self.has_content = True

    def until(self) -> float:
        """When a wait that begins now is too long, in seconds of time.monotonic()."""
        end = time.monotonic() + self._idle if self.has_content else self._first_until
        return min(end, self._deadline)

    def left(self) -> float:
        """How long a wait that begins now may take, in seconds; 0 where the time is up."""
        now = time.monotonic()
        wait = self._idle if self.has_content else self._first_until - now
        return max(0.0, min(wait, self._deadline - now))

    def exceeded(self) -> str:
        """Which wait was too long, in words."""
        now = time.monotonic()
        if now >= self._deadline:
            return "the call's deadline passed"
        if self.has_content:
            return f"it was silent for {self._idle:g} s"
        if not self._strict and now >= self._patience_until:
            return f"nothing but signs of life came within {self._first * _PATIENCE:g} s"
        return f"no content came within {self._first:g} s"
