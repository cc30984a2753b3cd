"""Objects whose keys are certain: those that the schema names, or clearly others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_inference_service.constraints._other_names import other_than

_MERGING = ("allOf", "anyOf", "oneOf", "$ref")
_OF_OBJECTS = ("properties", "additionalProperties", "patternProperties")


def closed(schema: Any) -> Any:
    """The schema, in which objects that name properties and say nothing of others are closed.

    Models fill an open object with whatever comes to their mind. What validates against the closed
    schema does so against the open one. Where schemas are merged with others, which may name more,
    they stay as they are. Where others are allowed, none may be a named one in disguise, such as
    "\\u0061" for "a", which would hold any value.

    Args:
        schema: a JSON schema.
    """
    return schema if _merges(schema) else _close(schema)


def _close(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_close(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        if isinstance(made.get(key), Mapping):
            made[key] = {name: _close(one) for name, one in made[key].items()}
    for key in ("items", "prefixItems", "additionalProperties", "anyOf", "oneOf"):
        if key in made:
            made[key] = _close(made[key])
    if "patternProperties" in made:
        made.setdefault("additionalProperties", False)
    elif made.get("properties"):
        others = made.pop("additionalProperties", False)
        counted = "minProperties" in made or "maxProperties" in made
        made |= {"additionalProperties": others} if counted else _named(made, others)
    return made


def _named(schema: Mapping[str, Any], others: Any) -> dict[str, Any]:
    """The keywords about properties of an object whose other properties have a schema."""
    if others is False:
        return {"additionalProperties": False}
    named = dict.fromkeys(schema.get("required", ()), others) | schema["properties"]
    return {
        "properties": schema["properties"] | named,
        "patternProperties": {other_than(named): others},
        "additionalProperties": False,
    }


def _merges(schema: Any) -> bool:
    """Whether some object is described by several schemas together."""
    if isinstance(schema, list):
        return any(map(_merges, schema))
    if not isinstance(schema, Mapping):
        return False
    merging = [key for key in _MERGING if key in schema]
    if "allOf" in schema or (merging and any(key in schema for key in (*_OF_OBJECTS, "required"))):
        return True
    if len(merging) > 1:
        return True
    return any(map(_merges, schema.values()))
