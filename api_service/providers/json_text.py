"""Reading JSON that a provider wrote: fast where it is right, lenient where it is nearly so."""

from __future__ import annotations

import json
from typing import Any

import orjson

from marsys.v1 import ErrorReason
from serving.errors import service_error

JsonObject = dict[str, Any]

_INT64_MAX = 2**63 - 1


def read_json(data: bytes) -> Any:
    """The value that a JSON text holds.

    Lone surrogates and NaN, which some servers write, are let through; the former become U+FFFD.

    Raises:
        ValueError: the bytes are no JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return _clean(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error


def dump_json(value: Any) -> str:
    """The JSON text of a value that `read_json` gave; NaN and infinities become null.

    Raises:
        ServiceError: it is nested too deeply.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers of more than 64 bits, or many levels
        pass
    try:
        finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(finite, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise service_error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            "the provider's answer can't be read: it is nested too deeply",
        ) from None


def text_of(value: object) -> str:
    """The value where it is a string, else an empty string."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> JsonObject:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def count_of(value: object) -> int | None:
    """The value where it is a whole number from 0 that fits int64, else None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INT64_MAX:
        return value
    return None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
