"""How long a provider says that one should wait: every form in which it says it."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Mapping

from api_service.providers.json_text import JsonObject, object_of

_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PROSE = re.compile(
    r"(?:try again|retry) in (\d+(?:\.\d+)?)\s*(milliseconds|ms|seconds?|s|minutes?|m)\b",
    re.IGNORECASE,
)
_PROSE_UNITS = {"ms": 1e-3, "milliseconds": 1e-3, "m": 60.0, "minute": 60.0, "minutes": 60.0}
_EPOCH_MILLISECONDS = 1e11  # larger numbers are milliseconds since the epoch
_EPOCH_SECONDS = 1e8  # smaller ones are a wait
_MOST = 10.0 * 365 * 86400


def retry_delay(
    headers: Mapping[str, str], error: JsonObject, message: str, now: float
) -> float | None:
    """The advised wait in seconds, or None where the provider doesn't say.

    Args:
        headers: response headers, looked up by lower-case name.
        error: the `error` object of the body; may be empty.
        message: the error in the provider's words.
        now: seconds since the epoch.
    """
    for source in (_from_headers, _from_body):
        delay = source(headers, error, now)
        if delay is not None and math.isfinite(delay):
            return min(max(delay, 0.0), _MOST)
    prose = _PROSE.search(message)
    if prose:
        return min(float(prose[1]) * _PROSE_UNITS.get(prose[2].lower(), 1.0), _MOST)
    return None


def _from_headers(headers: Mapping[str, str], error: JsonObject, now: float) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    for value in (
        _seconds_or_date(headers.get("retry-after"), now),
        _number(headers.get("x-ratelimit-reset-after")),
        _exhausted_limit(headers),
        _moment(headers.get("x-ratelimit-reset"), now),
    ):
        if value is not None:
            return value
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        if headers.get(f"anthropic-ratelimit-{kind}-remaining") == "0":
            until = _rfc3339(headers.get(f"anthropic-ratelimit-{kind}-reset"))
            if until is not None:
                return until - now
    return None


def _from_body(headers: Mapping[str, str], error: JsonObject, now: float) -> float | None:
    inner = object_of(object_of(error.get("metadata")).get("headers"))
    given = {str(key).lower(): str(value) for key, value in inner.items()}
    if given:
        delay = _from_headers(given, {}, now)
        if delay is not None:
            return delay
    for detail in error.get("details") or () if isinstance(error.get("details"), list) else ():
        delay_text = object_of(detail).get("retryDelay")
        if isinstance(delay_text, str):
            return _go_duration(delay_text)
    wait = _number(error.get("resets_in_seconds"))
    if wait is not None:
        return wait
    return _moment(error.get("resets_at"), now)


def _exhausted_limit(headers: Mapping[str, str]) -> float | None:
    """Until when the limit is exhausted of which nothing remains (OpenAI, xAI, Groq)."""
    waits = [
        wait
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0"
        and (wait := _go_duration(headers.get(f"x-ratelimit-reset-{kind}"))) is not None
    ]
    return max(waits, default=None)


def _seconds_or_date(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return _go_duration(text)
    return _epoch(moment) - now


def _moment(value: object, now: float) -> float | None:
    """A number of seconds to wait, or a moment in seconds or milliseconds since the epoch."""
    number = _number(value)
    if number is None:
        return _go_duration(value) if isinstance(value, str) else None
    if number >= _EPOCH_MILLISECONDS:
        return number / 1000 - now
    if number >= _EPOCH_SECONDS:
        return number - now
    return number


def _rfc3339(text: str | None) -> float | None:
    try:
        return _epoch(datetime.datetime.fromisoformat(text)) if text else None
    except (ValueError, OverflowError):
        return None


def _epoch(moment: datetime.datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def _go_duration(text: str | None) -> float | None:
    """A duration such as "6m0s", "1.2s" or "120ms"."""
    if not text:
        return None
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return float(sum(float(number) * _GO_UNITS[unit] for number, unit in parts))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
