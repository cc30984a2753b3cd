"""A check of arguments that count something."""

from __future__ import annotations


def check_count(name: str, value: int | None, least: int) -> None:
    """Check an argument that counts something; None means not set.

    Raises:
        ValueError: it is no integer of `least` or more.
    """
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of {least} or more; not {value!r}")
