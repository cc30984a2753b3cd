"""Facts beside the answer - attempts, warnings, usage - as plain values, and their log lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from marsys.v1 import Attempt, Usage, Warning, WarningCode

log = logging.getLogger("marsys.models")

_USAGE = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cache_read_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
}


def usage_facts(usage: Usage) -> dict[str, int]:
    """The counts that are known."""
    known = {descriptor.name: count for descriptor, count in usage.ListFields()}
    return {name: known[field] for field, name in _USAGE.items() if field in known}


def attempt_facts(attempt: Attempt) -> dict[str, Any]:
    """A failed attempt; times in seconds, None where unknown."""
    return {
        "number": attempt.number,
        "provider": attempt.provider,
        "model": attempt.model,
        "http_status": attempt.http_status if attempt.HasField("http_status") else None,
        "reason": attempt.reason,
        "message": attempt.message,
        "elapsed": attempt.elapsed.ToNanoseconds() / 1e9 if attempt.HasField("elapsed") else None,
        "delay": attempt.delay.ToNanoseconds() / 1e9 if attempt.HasField("delay") else None,
    }


def warning_facts(warning: Warning) -> dict[str, str]:
    """A warning: its code in lower case, the field that it is about, and its text."""
    known = warning.code in WarningCode.values()
    word = WarningCode.Name(warning.code).removeprefix("WARNING_CODE_") if known else "UNKNOWN"
    return {"code": word.lower(), "field": warning.field, "message": warning.message}


def log_warning(warning: Warning) -> None:
    """Tell of a warning."""
    log.warning("%s: %s", warning.field or "request", warning.message)


def log_attempt(attempt: Mapping[str, Any], max_retries: int) -> None:
    """Tell of an attempt that failed and was repeated.

    Args:
        attempt: as `attempt_facts` gives it.
        max_retries: most retries that the service makes.
    """
    status = attempt["http_status"]
    if status == 429:
        what = "Rate limit (429)"
    elif status is not None and status >= 500:
        what = f"Server error {status}"
    elif status is not None:
        what = f"Error {status}"
    else:
        what = attempt["reason"].replace("_", " ").capitalize() or "Error"
    model = attempt["model"].rpartition("/")[2] or "the model"
    log.warning(
        "%s from %s. Retry %d/%d after %.1fs",
        what,
        model,
        attempt["number"],
        max_retries,
        _told_delay(attempt["delay"] or 0.0, attempt["number"]),
    )


def _told_delay(delay: float, retry: int) -> float:
    """The delay without the service's jitter, which makes it up to a tenth longer."""
    nominal = 2.0 ** (retry - 1)
    return nominal if nominal <= delay <= nominal * 1.1 else delay


def log_success(attempts: Sequence[Attempt]) -> None:
    """Tell that a call succeeded after failed attempts; nothing where there were none."""
    if attempts:
        plural = "retry" if len(attempts) == 1 else "retries"
        log.info("Request successful after %d %s", len(attempts), plural)
