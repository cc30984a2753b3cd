"""Whether, and when, a failed attempt is repeated."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from api_service.providers.table import ProviderRow
from marsys.rpc.reasons import reason_name
from marsys.v1 import Attempt, CallPolicy, ErrorReason, ModelError
from serving.errors import ServiceError

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 4
_LONGEST_WAIT = 60.0  # seconds; who advises more is not waited for
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double: 1, 2, 4 seconds, each up to a tenth longer.

    Attributes:
        base: the first wait in seconds.
        random: gives numbers from 0 to 1.
    """

    base: float = 1.0
    random: Callable[[], float] = random.random

    def nominal(self, retry: int) -> float:
        """The wait before a retry (from 1), without jitter."""
        return min(self.base * 2.0 ** (retry - 1), _LONGEST_WAIT)

    def jittered(self, wait: float) -> float:
        """The wait with jitter, so that many callers don't come back at once."""
        return min(wait * (1 + _JITTER * self.random()), _LONGEST_WAIT)


class Attempts:
    """The attempts at one request.

    Args:
        row: the provider.
        model: the model's name at the provider.
        policy: how many attempts the caller wants.
        deadline: when the caller stops waiting, in seconds of time.monotonic(); None is never.
        backoff: the waits between attempts.
    """

    def __init__(
        self,
        row: ProviderRow,
        model: str,
        policy: CallPolicy,
        deadline: float | None,
        backoff: Backoff,
    ) -> None:
        self._row = row
        self._model = model
        self._most = policy.max_attempts if policy.HasField("max_attempts") else MAX_ATTEMPTS
        self._deadline = math.inf if deadline is None else deadline
        self._backoff = backoff
        self._failed: list[Attempt] = []
        self._retries = 0
        self._begun = time.monotonic()

    def begin(self) -> None:
        """An attempt begins."""
        self._begun = time.monotonic()

    def succeeded(self) -> None:
        """The attempt was answered."""
        if self._retries:
            count = self._retries
            log.info("Request successful after %d %s", count, "retry" if count == 1 else "retries")

    def failed(self, error: ModelError, has_content: bool) -> Attempt:
        """The attempt failed. Returns it; its `delay` is the wait before the next one.

        Args:
            error: why.
            has_content: whether the caller has, or may have, seen content of it.

        Raises:
            ServiceError: there is no next attempt.
        """
        attempt = self._record(error)
        self._retries += 1
        if has_content or not error.retryable or self._retries >= self._most:
            raise self._final(error)
        advised = error.retry_after.ToMilliseconds() / 1000
        nominal = advised or self._backoff.nominal(self._retries)
        wait = advised or self._backoff.jittered(nominal)
        if wait > _LONGEST_WAIT or time.monotonic() + wait >= self._deadline:
            raise self._final(error)
        attempt.delay.FromNanoseconds(int(wait * 1e9))
        log.warning(
            "%s from %s. Retry %d/%d after %.1fs",
            _what(error),
            self._model.rpartition("/")[2],
            self._retries,
            self._most - 1,
            nominal,
        )
        return attempt

    def corrected(self, error: ModelError) -> Attempt:
        """The attempt failed by the service's own choice; a better one follows at once.

        It doesn't count against the caller's attempts.
        """
        attempt = self._record(error)
        attempt.delay.SetInParent()
        log.info("%s: sent again without it", error.message)
        return attempt

    def _record(self, error: ModelError) -> Attempt:
        attempt = Attempt(
            number=len(self._failed) + 1,
            provider=self._row.name,
            model=self._model,
            reason=reason_name(error.reason),
            message=error.message,
        )
        if error.HasField("http_status"):
            attempt.http_status = error.http_status
        attempt.elapsed.FromNanoseconds(int((time.monotonic() - self._begun) * 1e9))
        self._failed.append(attempt)
        return attempt

    def _final(self, error: ModelError) -> ServiceError:
        """The error with what the caller should know of the attempts."""
        final = ModelError()
        final.CopyFrom(error)
        final.attempts.extend(self._failed)
        final.max_retries = self._most - 1
        advised = self._row.advised_delays.get(error.http_status)
        if advised is not None and error.retryable and not error.HasField("retry_after"):
            final.retry_after.FromMilliseconds(round(advised * 1000))
        return ServiceError(final)


def _what(error: ModelError) -> str:
    status = error.http_status
    if status == 429:
        return "Rate limit 429"
    if status >= 500:
        return f"Server error {status}"
    if error.reason == ErrorReason.ERROR_REASON_TIMEOUT:
        return f"Timeout {status}" if status else "Timeout"
    if status:
        return f"Error {status}"
    if error.reason == ErrorReason.ERROR_REASON_NETWORK_ERROR:
        return "Network error"
    return "Unusable answer"
