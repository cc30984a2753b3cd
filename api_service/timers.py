"""How long an attempt may wait."""

from __future__ import annotations

import math
import time

from marsys.v1 import CallPolicy

FIRST_TOKEN_TIMEOUT = 300.0
IDLE_TIMEOUT = 120.0
# gRPC itself cancels the call at its deadline, and says so best: let it come first.
_SLACK = 1.0


class Timers:
    """The waits of one attempt: for first content, then between chunks; never past the deadline.

    Args:
        policy: what the caller set; the defaults are CallPolicy's.
        deadline: when the caller stops waiting, in seconds of time.monotonic(); None is never.
    """

    def __init__(self, policy: CallPolicy, deadline: float | None) -> None:
        self.first = FIRST_TOKEN_TIMEOUT
        if policy.HasField("first_token_timeout"):
            self.first = policy.first_token_timeout.ToMilliseconds() / 1000
        self.idle = IDLE_TIMEOUT
        if policy.HasField("idle_timeout"):
            self.idle = policy.idle_timeout.ToMilliseconds() / 1000
        self._deadline = math.inf if deadline is None else deadline + _SLACK
        self._first_until = time.monotonic() + self.first
        self._has_content = False

    def content(self) -> None:
        """The first content has come."""
        self._has_content = True

    def left(self) -> float:
        """How long the next wait may take, in seconds; 0 where the time is up."""
        now = time.monotonic()
        wait = self.idle if self._has_content else self._first_until - now
        return max(0.0, min(wait, self._deadline - now))

    def exceeded(self) -> str:
        """Which wait was too long, in words."""
        if time.monotonic() >= self._deadline:
            return "the call's deadline passed"
        if self._has_content:
            return f"it was silent for {self.idle:g} s"
        return f"nothing came within {self.first:g} s"
