"""Anthropic Messages: JSON Schema -> the part of it that is enforced.

What is not enforced goes into the description of its place, where the model reads it.
"""

from __future__ import annotations

import json
from typing import Any

from api_service.providers.json_text import JsonObject

_FORMATS = frozenset(
    {
        "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
    }
)  # fmt: skip
_KEPT = frozenset({"title", "type", "enum", "const", "default", "$ref", "description", "required"})
# Keywords that mean nothing to a model.
_SILENT = frozenset({"$schema", "$id", "$comment", "examples", "deprecated", "readOnly"})


class NotEnforceable(Exception):
    """The schema means something that can't be enforced at all."""


def enforced_schema(schema: JsonObject) -> tuple[JsonObject, list[str]]:
    """A copy in which every object is closed, and the keywords that became description.

    Raises:
        NotEnforceable: an object takes properties of any name, or the schema refers to itself or
            to somewhere else.
    """
    moved: set[str] = set()
    result = _enforced(schema, moved)
    if not isinstance(result, dict):
        raise NotEnforceable("it is no object")
    definitions = {
        f"#/{key}/{name}": item
        for key in ("$defs", "definitions")
        for name, item in (schema.get(key) or {}).items()
    }
    _check_references(schema, definitions, ())
    return result, sorted(moved)


def _enforced(schema: Any, moved: set[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    result: JsonObject = {}
    rest: JsonObject = {}
    for key, value in schema.items():
        if key in _KEPT:
            result[key] = value
        elif key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            result[key] = {name: _enforced(item, moved) for name, item in value.items()}
        elif key == "items" and isinstance(value, dict):
            result[key] = _enforced(value, moved)
        elif key in ("anyOf", "oneOf", "allOf") and isinstance(value, list):
            name = "allOf" if key == "allOf" else "anyOf"
            result[name] = [_enforced(item, moved) for item in value]
        elif (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            result[key] = value
        elif key != "additionalProperties" and key not in _SILENT:
            rest[key] = value
    if schema.get("type") == "object" or "properties" in schema:
        _close(schema, result)
    if rest:
        moved.update(rest)
        told = ", ".join(f"{key}: {_shown(value)}" for key, value in rest.items())
        before = result.get("description")
        result["description"] = f"{before}\n\n{{{told}}}" if before else f"{{{told}}}"
    return result


def _close(schema: JsonObject, result: JsonObject) -> None:
    extra = schema.get("additionalProperties")
    if extra not in (None, False) and (extra is not True or not schema.get("properties")):
        raise NotEnforceable("an object in it takes properties of any name")
    if "properties" not in schema and extra is None and "$ref" not in schema:
        raise NotEnforceable("an object in it names no properties")
    result.setdefault("properties", {})
    result["additionalProperties"] = False


def _check_references(schema: Any, definitions: JsonObject, within: tuple[str, ...]) -> None:
    if isinstance(schema, list):
        for item in schema:
            _check_references(item, definitions, within)
    if not isinstance(schema, dict):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in within:
            raise NotEnforceable("it refers to itself")
        if reference not in definitions:
            raise NotEnforceable(f"{reference!r} is none of its definitions")
        _check_references(definitions[reference], definitions, (*within, reference))
    for key, value in schema.items():
        if key not in ("enum", "const", "default", "$defs", "definitions"):
            _check_references(value, definitions, within)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
