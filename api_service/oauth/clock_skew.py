"""How far this machine's clock is from a provider's, as its answers date themselves."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_TOLERATED = 120.0  # seconds by which two clocks may differ without a word


def skew_of(date: str, now: float) -> float:
    """By how many seconds this machine's clock is ahead; 0 where it is about right, or unknown.

    Args:
        date: an answer's Date header; may be empty.
        now: seconds since the epoch.
    """
    try:
        skew = now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return skew if abs(skew) > _TOLERATED else 0.0


def skew_in_words(skew: float) -> str:
    """A skew, as words."""
    side = "ahead of" if skew > 0 else "behind"
    return f"this machine's clock is {abs(skew):.0f} s {side} the provider's"
