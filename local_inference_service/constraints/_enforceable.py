"""What of a schema can be enforced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_ENFORCED = frozenset(
    (
        *("$schema", "$id", "$anchor", "$ref", "$defs", "definitions", "type", "enum", "const"),
        *("allOf", "anyOf", "oneOf", "properties", "patternProperties", "additionalProperties"),
        *("required", "minProperties", "maxProperties", "items", "prefixItems", "additionalItems"),
        *("minItems", "maxItems", "minLength", "maxLength", "pattern", "format", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    )
)
_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "example", "examples", "$comment", "deprecated"),
        *("readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"),
        *("discriminator", "$vocabulary"),
    )
)
_WITHOUT_EFFECT = (
    ("uniqueItems", False),
    ("unevaluatedProperties", True),
    ("unevaluatedItems", True),
)
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems", "items", "additionalItems")
# A multiple is an automaton with that many states: large ones take all memory there is.
_LARGEST_MULTIPLE = 10_000


class Unenforceable(ValueError):
    """A schema asks for what can't be enforced."""


def enforceable(schema: Mapping[str, Any], *, lenient: bool) -> dict[str, Any]:
    """The schema without annotations and without what can't be enforced.

    Args:
        schema: a JSON schema.
        lenient: whether what can't be enforced is left out.

    Raises:
        Unenforceable: there is some, and it isn't to be left out; the text says what and where.
    """
    reader = _Reader()
    made: dict[str, Any] = reader.read(schema, "#")
    if reader.found and not lenient:
        raise Unenforceable("; ".join(reader.found[:8]))
    return made


class _Reader:
    """Reads one schema.

    Attributes:
        found: what can't be enforced.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._multiple = 1  # of all multiples so far, since schemas may be merged

    def read(self, schema: Any, where: str) -> Any:
        """A schema or a list of schemas, without what can't be enforced."""
        if isinstance(schema, list):
            return [self.read(one, f"{where}/{number}") for number, one in enumerate(schema)]
        if not isinstance(schema, Mapping):
            return schema
        return {
            key: self._inside(key, value, f"{where}/{key}")
            for key, value in schema.items()
            if self._holds(schema, key, value, where)
        }

    def _inside(self, key: str, value: Any, where: str) -> Any:
        if key in _OF_SCHEMAS and isinstance(value, Mapping):
            return {name: self.read(one, f"{where}/{name}") for name, one in value.items()}
        if key in _SCHEMAS or key == "additionalProperties":
            return self.read(value, where)
        return value

    def _holds(self, schema: Mapping[str, Any], key: str, value: Any, where: str) -> bool:
        """Whether a keyword says something that can be enforced."""
        if key in _ANNOTATIONS or key.startswith("x-") or (key, value) in _WITHOUT_EFFECT:
            return False
        problem = self._problem(schema, key, value)
        if problem:
            self.found.append(f"{where}: {problem}")
        return not problem

    def _problem(self, schema: Mapping[str, Any], key: str, value: Any) -> str:
        """Why a keyword can't be enforced; empty if it can."""
        if key not in _ENFORCED:
            return key
        if key in _LIMITS and _is_inexact(value):
            return f"{key} {value}, which is no 64-bit float"
        if key == "minProperties" and value > len(schema.get("required", ())) + 1:
            return f"{key} {value} of unnamed properties, which could repeat"
        if key == "additionalProperties" and value is not False and "patternProperties" in schema:
            return f"{key} beside patternProperties"
        if key == "multipleOf":
            digits = int("".join(map(str, Decimal(str(value)).normalize().as_tuple().digits)))
            together = math.lcm(self._multiple, digits)
            if together > _LARGEST_MULTIPLE:
                return f"multipleOf {value}, which is too large"
            self._multiple = together
        return ""


def _is_inexact(value: Any) -> bool:
    try:
        return isinstance(value, int) and int(float(value)) != value
    except OverflowError:
        return True
