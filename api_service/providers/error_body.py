"""Reads what providers of the OpenAI kind put into an error's body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from api_service.providers.json_text import JsonObject, list_of, object_of, read_json, text_of

_LONGEST = 8192  # characters of a provider's text that are read


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error says.

    Attributes:
        message: in words; may be empty.
        code: the provider's code, else its type; may be empty.
        kind: the provider's type; may be empty.
        param: the parameter at fault; may be empty.
        status: the HTTP status that the body itself names.
        raw: the error object.
    """

    message: str = ""
    code: str = ""
    kind: str = ""
    param: str = ""
    status: int | None = None
    raw: JsonObject = field(default_factory=dict)


def parse_error(body: bytes) -> ErrorBody:
    """What the body of an error response says."""
    try:
        value = read_json(body)
    except ValueError:
        return ErrorBody(message=_plain(body))
    return error_of(value) or ErrorBody()


def error_of(value: Any) -> ErrorBody | None:
    """The error that a JSON value holds, or None where it holds none."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return ErrorBody(message=_shorten(value)) if isinstance(value, str) else None
    error = value.get("error")
    if isinstance(error, dict):
        return _from_object(error)
    if isinstance(error, str) and error:
        return ErrorBody(_shorten(error), _code(value.get("code")), raw=value)
    if value.get("object") == "error":
        return _from_object(value)
    detail = value.get("detail")
    if isinstance(detail, str) and detail:
        return ErrorBody(_shorten(detail), raw=value)
    if isinstance(detail, list) and detail:
        return ErrorBody(_shorten("; ".join(_violation(item) for item in detail)), raw=value)
    if isinstance(value.get("message"), str) and "choices" not in value:
        return _from_object(value)
    return None


def _shorten(text: str) -> str:
    """The text, cut to what is read of it."""
    return text.strip()[:_LONGEST]


def _from_object(error: JsonObject) -> ErrorBody:
    message = text_of(error.get("message"))
    raw = object_of(error.get("metadata")).get("raw")
    if isinstance(raw, str) and raw and raw not in message:
        message = f"{message}: {raw}" if message else raw
    reasons = [text for text in list_of(object_of(error.get("metadata")).get("reasons")) if text]
    if reasons:
        message = f"{message} ({', '.join(map(str, reasons))})"
    code = error.get("code")
    status = code if isinstance(code, int) and not isinstance(code, bool) else None
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        status = int(code)
    kind = text_of(error.get("type"))
    return ErrorBody(
        message=_shorten(message),
        code=_code(code) or kind,
        kind=kind,
        param=text_of(error.get("param")),
        status=status if status is not None and 400 <= status <= 599 else None,
        raw=error,
    )


def _code(value: object) -> str:
    if isinstance(value, str):
        return _shorten(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _violation(item: object) -> str:
    """One complaint of a FastAPI server."""
    violation = object_of(item)
    path = ".".join(str(step) for step in list_of(violation.get("loc")))
    return f"{path}: {text_of(violation.get('msg'))}" if path else text_of(violation.get("msg"))


def _plain(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else _shorten(text)  # a page for people says nothing
