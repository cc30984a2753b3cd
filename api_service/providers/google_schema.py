"""JSON Schema -> the `Schema` of Google's `responseSchema`.

A subset of OpenAPI: no references, no null type, enums of text. What it can't say without losing
meaning raises NotConvertible; such a schema goes to Google as JSON Schema instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from api_service.providers.json_text import JsonObject, list_of

_TYPES = {"string", "number", "integer", "boolean", "array", "object"}
# Keywords that are taken as they are.
_PLAIN = (
    "title", "description", "default", "minItems", "maxItems", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "minimum", "maximum",
)  # fmt: skip
_FORMATS = {
    "string": {"date-time", "enum"},
    "number": {"float", "double"},
    "integer": {"int32", "int64"},
}
# Keywords that mean nothing to a model that writes, or are dealt with where they are used.
_SILENT = frozenset(
    {
        "$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "examples", "readOnly",
        "writeOnly", "deprecated", "discriminator", "propertyOrdering",
    }
)  # fmt: skip
_WORDS = ("title", "description", "default")
_NOTES = frozenset(_WORDS) | _SILENT
_CONVERTED = frozenset(
    {"type", "format", "enum", "const", "items", "properties", "required", "additionalProperties"}
)
# What Google says that it reads of a JSON Schema.
_JSON_SCHEMA_READ = frozenset(
    {
        "$id", "$defs", "$ref", "$anchor", "$schema", "type", "format", "title", "description",
        "enum", "const", "items", "prefixItems", "minItems", "maxItems", "minimum", "maximum",
        "anyOf", "oneOf", "properties", "additionalProperties", "required", "propertyOrdering",
        "default", "definitions",
    }
)  # fmt: skip
_DEEPEST = 64
_MOST_PARTS = 5000  # what references may grow to when they are written out


class NotConvertible(Exception):
    """The schema means something that Google's `Schema` can't say."""


def google_schema(schema: JsonObject) -> JsonObject:
    """The schema in Google's form; the one given is left as it is.

    Raises:
        NotConvertible: it would lose meaning.
    """
    return _Conversion(schema).convert(schema, ())


def unenforced(schema: JsonObject) -> list[str]:
    """Keywords of a JSON Schema that Google is not known to read, sorted."""
    return sorted({key for part in _schemas(schema) for key in part} - _JSON_SCHEMA_READ - _SILENT)


def _schemas(schema: Any) -> Iterator[JsonObject]:
    """A schema and the schemas in it."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        yield part
        for key in ("items", "additionalProperties", "not", "if", "then", "else", "contains"):
            waiting.append(part.get(key))
        for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            waiting.extend(list_of(part.get(key)))
        for key in ("properties", "$defs", "definitions", "patternProperties"):
            named = part.get(key)
            waiting.extend(named.values() if isinstance(named, dict) else ())


class _Conversion:
    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._parts = 0

    def convert(self, schema: Any, inside: tuple[str, ...]) -> JsonObject:
        """Convert one schema.

        Args:
            schema: the schema.
            inside: the way to it: references, and keywords that hold schemas.
        """
        if schema is True or schema == {}:
            return {}
        if not isinstance(schema, dict):
            raise NotConvertible("a part of it allows nothing")
        self._parts += 1
        if len(inside) > _DEEPEST or self._parts > _MOST_PARTS:
            raise NotConvertible("it is too large without references")
        if "$ref" in schema:
            return self._referred(schema, inside)
        if "allOf" in schema:
            return self.convert(_merged(schema), (*inside, "allOf"))
        if "anyOf" in schema:
            return self._any_of(schema, inside)
        return self._single(schema, inside)

    def _referred(self, schema: JsonObject, inside: tuple[str, ...]) -> JsonObject:
        name = schema["$ref"]
        if name in inside:
            raise NotConvertible("it contains itself")
        target: Any = self._root
        if not isinstance(name, str) or not name.startswith("#"):
            raise NotConvertible("it refers to another document")
        for step in name.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            target = target.get(step) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise NotConvertible(f"{name} is not in it")
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return self.convert(_joined([target], beside), (*inside, name))

    def _any_of(self, schema: JsonObject, inside: tuple[str, ...]) -> JsonObject:
        if schema.keys() - {"anyOf"} - _NOTES:
            raise NotConvertible("it has keywords beside anyOf")
        branches = list_of(schema["anyOf"])
        kept = [branch for branch in branches if not _is_null(branch)]
        result: JsonObject = {key: schema[key] for key in _WORDS if key in schema}
        if len(kept) == 1:
            result = self.convert(kept[0], (*inside, "anyOf")) | result
        else:
            result["anyOf"] = [self.convert(branch, (*inside, "anyOf")) for branch in kept]
        if len(kept) < len(branches):
            result["nullable"] = True
        return _without_null_default(result)

    def _single(self, schema: JsonObject, inside: tuple[str, ...]) -> JsonObject:
        unknown = schema.keys() - _SILENT - _CONVERTED - set(_PLAIN) - {"nullable"}
        if unknown:
            raise NotConvertible(f"Google's own form has no {', '.join(sorted(unknown))}")
        kind, nullable = _type_of(schema)
        result: JsonObject = {}
        if kind:
            result["type"] = kind.upper()
        for key in _PLAIN:
            if key in schema:
                result[key] = schema[key]
        _put_format(result, schema, kind)
        nullable = _put_enum(result, schema, kind) or nullable or schema.get("nullable") is True
        if nullable:
            result["nullable"] = True
        if kind == "array" and "items" in schema:
            result["items"] = self.convert(schema["items"], (*inside, "items"))
        if kind == "object":
            self._put_properties(result, schema, inside)
        elif "properties" in schema:
            raise NotConvertible("a part of it has properties and is no object")
        return _without_null_default(result)

    def _put_properties(
        self, result: JsonObject, schema: JsonObject, inside: tuple[str, ...]
    ) -> None:
        properties = schema.get("properties") or {}
        extra = schema.get("additionalProperties", False)
        if extra is not False and (extra is not True or not properties):
            raise NotConvertible("it takes properties of any name")
        if not properties:
            raise NotConvertible("an object in it names no properties")
        converted = {
            name: self.convert(value, (*inside, "properties")) for name, value in properties.items()
        }
        result["properties"] = converted
        # Without it the model would write them in the order of their names.
        result["propertyOrdering"] = schema.get("propertyOrdering") or list(converted)
        required = [name for name in list_of(schema.get("required")) if name in converted]
        if len(required) < len(list_of(schema.get("required"))):
            raise NotConvertible("it requires properties that it does not name")
        if required:
            result["required"] = required


def _type_of(schema: JsonObject) -> tuple[str, bool]:
    """The one type of a schema, and whether null is allowed too."""
    given = schema.get("type")
    types = [given] if isinstance(given, str) else list_of(given)
    kinds = [kind for kind in types if kind != "null"]
    if len(kinds) > 1 or any(kind not in _TYPES for kind in kinds):
        raise NotConvertible("a part of it has several types")
    if types and not kinds:
        raise NotConvertible("a part of it is always null")
    kind = kinds[0] if kinds else _implied(schema)
    return kind, "null" in types


def _implied(schema: JsonObject) -> str:
    """The type that a schema without one can only have."""
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    values = [schema["const"]] if "const" in schema else list_of(schema.get("enum"))
    values = [value for value in values if value is not None]
    if values and all(isinstance(value, str) for value in values):
        return "string"
    if values and all(_is_whole(value) for value in values):
        return "integer"
    if values:
        raise NotConvertible("a part of it lists values of several types")
    return ""


def _put_format(result: JsonObject, schema: JsonObject, kind: str) -> None:
    form = schema.get("format")
    if form is None:
        return
    if form not in _FORMATS.get(kind, ()):
        raise NotConvertible(f"Google's own form has no format {form!r}")
    result["format"] = form


def _put_enum(result: JsonObject, schema: JsonObject, kind: str) -> bool:
    """Put the values that a schema allows. Returns whether null is one of them."""
    if "const" in schema:
        values = [schema["const"]]
    elif "enum" in schema:
        values = list_of(schema["enum"])
    else:
        return False
    told = [value for value in values if value is not None]
    if not told:
        raise NotConvertible("a part of it is always null")
    if kind == "string" and all(isinstance(value, str) for value in told):
        result["enum"] = told
    elif kind == "integer" and all(_is_whole(value) for value in told):
        result["format"] = "enum"
        result["enum"] = [str(value) for value in told]
    else:
        raise NotConvertible("a part of it lists values that are neither text nor whole numbers")
    return len(told) < len(values)


def _merged(schema: JsonObject) -> JsonObject:
    """One schema for `allOf`, where no keyword stands twice."""
    beside = {key: value for key, value in schema.items() if key != "allOf"}
    parts = list_of(schema["allOf"])
    if not all(isinstance(part, dict) for part in parts):
        raise NotConvertible("its allOf is no list of schemas")
    return _joined(parts, beside)


def _joined(parts: list[JsonObject], beside: JsonObject) -> JsonObject:
    """The parts as one; words beside them win, other keywords must not contradict."""
    joined: JsonObject = {}
    for part in parts:
        for key, value in part.items():
            if key in joined and key not in _NOTES and joined[key] != value:
                raise NotConvertible(f"{key} stands twice in what it joins")
            joined.setdefault(key, value)
    for key, value in beside.items():
        if key in joined and key not in _NOTES and joined[key] != value:
            raise NotConvertible(f"{key} stands beside a reference that says it otherwise")
        joined[key] = value
    return joined


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _without_null_default(schema: JsonObject) -> JsonObject:
    """`default: null` says no more than `nullable`."""
    if schema.get("nullable") and schema.get("default", 0) is None:
        del schema["default"]
    return schema
