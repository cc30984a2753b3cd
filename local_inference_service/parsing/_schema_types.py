"""Which types of JSON value a schema allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_MAX_DEPTH = 16
_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})


def types_of(schema: Any, root: Any) -> frozenset[str] | None:
    """The types of the values that a schema allows, as far as it says so plainly.

    "integer" comes with every "number".

    Args:
        schema: a JSON schema.
        root: the schema that holds it: its "$ref"s point into that.

    Returns:
        Names of types; None: any.
    """
    return _types_of(schema, root, 0)


def _types_of(schema: Any, root: Any, depth: int) -> frozenset[str] | None:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    found = [_named(schema), _of_values(schema)]
    if isinstance(schema.get("$ref"), str):
        found.append(_types_of(resolve(schema["$ref"], root), root, depth + 1))
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found.append(_union([_types_of(one, root, depth + 1) for one in schema[key]]))
    if isinstance(schema.get("allOf"), list):
        found += [_types_of(one, root, depth + 1) for one in schema["allOf"]]
    types: frozenset[str] | None = None
    for one in found:
        if one is not None:
            types = one if types is None else types & one
    if types is not None and schema.get("nullable") is True:
        types |= {"null"}
    return types


def types_of_value(value: Any) -> frozenset[str]:
    """The types that a value of JSON has: an integer is a number as well."""
    if value is None:
        return frozenset({"null"})
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int):
        return frozenset({"integer", "number"})
    if isinstance(value, float):
        return frozenset({"number"})
    if isinstance(value, str):
        return frozenset({"string"})
    return frozenset({"array" if isinstance(value, list) else "object"})


def resolve(reference: str, root: Any) -> Any:
    """What a "$ref" within a schema points to; None if that isn't there."""
    if not reference.startswith("#"):
        return None
    target = root
    for key in reference[1:].split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping):
            return None
        target = target.get(key)
    return target


def _named(schema: Mapping[str, Any]) -> frozenset[str] | None:
    named = schema.get("type")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    types = frozenset(name for name in names if isinstance(name, str)) & _TYPES
    if types:
        return types | {"integer"} if "number" in types else types
    if "properties" in schema:
        return frozenset({"object"})
    return frozenset({"array"}) if "items" in schema else None


def _of_values(schema: Mapping[str, Any]) -> frozenset[str] | None:
    if "const" in schema:
        return types_of_value(schema["const"])
    if isinstance(schema.get("enum"), list):
        return _union([types_of_value(value) for value in schema["enum"]])
    return None


def _union(parts: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    types: frozenset[str] = frozenset()
    for part in parts:
        if part is None:
            return None
        types |= part
    return types
