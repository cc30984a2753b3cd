"""JSON texts in requests: well-formed, and schemas that are schemas."""

from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema_rs

from serving.errors import invalid


def check_json(field: str, text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ServiceError: the text is no JSON (NaN and Infinity are none).
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise invalid(field, "is nested too deeply") from None
    except ValueError as error:
        raise invalid(field, f"is not valid JSON: {error}") from None


def check_schema(field: str, text: str) -> None:
    """Check that a text is a JSON Schema whose root is an object.

    Raises:
        ServiceError: the text is no JSON, no object, or no valid schema.
    """
    problem = _schema_problem(text)
    if problem:
        raise invalid(field, problem)


@functools.lru_cache(maxsize=512)
def _schema_problem(text: str) -> str:
    """What is wrong with a schema; empty if nothing is. Agents send the same schemas often."""
    if not text:
        return "must hold a JSON Schema"
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is not valid JSON: {error}"
    if not isinstance(schema, dict):
        return "must be a JSON object"
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(step) for step in error.instance_path)
        return f"is no valid JSON Schema: {error.message}" + (f" (at {where})" if where else "")
    except ValueError as error:
        return f"is no valid JSON Schema: {error}"
    return ""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")
