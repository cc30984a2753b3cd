"""Makes a JSON Schema fit for strict modes of the OpenAI kind."""

from __future__ import annotations

from typing import Any

from api_service.providers.json_text import JsonObject

# Places of a schema that hold schemas: one, a list of them, or named ones.
_ONE = ("items", "not", "if", "then", "else", "contains")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("$defs", "definitions")


class NotStrict(Exception):
    """The schema means something that a strict mode can't express."""


def strict_schema(schema: JsonObject) -> JsonObject:
    """A copy in which every object is closed and all its properties are required.

    A property that was optional may be null instead. `default` is left out: strict modes refuse it.

    Raises:
        NotStrict: the root is no object, or an object takes properties of any name.
    """
    if "object" not in _types(schema):
        raise NotStrict("its root is not an object")
    closed: JsonObject = _strict(schema)
    return closed


def _strict(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = {key: value for key, value in schema.items() if key != "default"}
    for key in _ONE:
        if key in result:
            result[key] = _strict(result[key])
    for key in _MANY:
        if isinstance(result.get(key), list):
            result[key] = [_strict(item) for item in result[key]]
    for key in _NAMED:
        if isinstance(result.get(key), dict):
            result[key] = {name: _strict(item) for name, item in result[key].items()}
    if "object" in _types(schema) or "properties" in schema:
        _close(result)
    return result


def _close(schema: JsonObject) -> None:
    if schema.get("patternProperties"):
        raise NotStrict("it has patternProperties")
    extra = schema.get("additionalProperties")
    if extra not in (None, False) and (extra is not True or not schema.get("properties")):
        raise NotStrict("it takes properties of any name")
    properties = schema.get("properties")
    if properties is None and extra is None:
        raise NotStrict("an object in it names no properties")
    required = schema.get("required")
    demanded = set(required) if isinstance(required, list) else set()
    closed = {
        name: _strict(item) if name in demanded else _nullable(_strict(item))
        for name, item in (properties or {}).items()
    }
    schema["properties"] = closed
    schema["required"] = list(closed)
    schema["additionalProperties"] = False


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    types = _types(schema)
    if "null" in types:
        return schema
    if types and "const" not in schema:
        wider = schema | {"type": [*types, "null"]}
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            wider["enum"] = [*schema["enum"], None]
        return wider
    branches = schema.get("anyOf")
    if isinstance(branches, list):
        if any("null" in _types(branch) for branch in branches if isinstance(branch, dict)):
            return schema
        return schema | {"anyOf": [*branches, {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}


def _types(schema: JsonObject) -> list[str]:
    given = schema.get("type")
    if isinstance(given, str):
        return [given]
    return [item for item in given if isinstance(item, str)] if isinstance(given, list) else []
