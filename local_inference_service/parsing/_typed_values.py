"""Arguments that stand as bare text between tags -> JSON, by the types of the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from local_inference_service.parsing._json_scanner import escaped, is_json
from local_inference_service.parsing._pythonic import python_to_json
from local_inference_service.parsing._schema_types import types_of
from local_inference_service.parsing._writer import Writer

NO_STRING = frozenset({"integer", "number", "boolean", "null", "object", "array"})

_STRING_OR_NULL = frozenset({"string", "null"})
_NULLS = ("null", "None")
_BARE = "{[-0123456789tfn"  # what JSON that isn't a string begins with
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


class TypedArguments:
    """Writes the arguments of the open call as they come.

    Args:
        writer: gets the JSON text.
        schema: of the arguments; None where the tool is unknown.
    """

    def __init__(self, writer: Writer, schema: Mapping[str, Any] | None) -> None:
        properties = (schema or {}).get("properties")
        self._properties = properties if isinstance(properties, Mapping) else {}
        self._schema = schema
        self._writer = writer
        self._seen: set[str] = set()

    def takes(self, key: str) -> bool:
        """Whether an argument of that name may come: each may come once."""
        return bool(key) and key not in self._seen

    def awaits(self, key: str) -> bool:
        """Whether an argument of that name may be expected, as far as the schema tells."""
        return self.takes(key) and (not self._properties or key in self._properties)

    def value(self, key: str, types: frozenset[str] | None = None) -> TypedValue:
        """Begin an argument.

        Args:
            key: its name.
            types: of the value, where the notation says; else the schema does.
        """
        if types is None:
            types = types_of(self._properties.get(key), self._schema)
        self._writer.arguments(
            ("," if self._seen else "{") + json.dumps(key, ensure_ascii=False) + ":"
        )
        self._seen.add(key)
        return TypedValue(types, self._writer.arguments)

    def end(self, complete: bool) -> None:
        """End the arguments and the call."""
        if complete:
            self._writer.arguments("}" if self._seen else "{}")
        self._writer.end_call(complete)


class TypedValue:
    """One value. A string is written as it comes; what must be read as JSON, at its end.

    Args:
        types: names of JSON's types that it may have; None: any.
        write: gets the JSON text.
    """

    def __init__(self, types: frozenset[str] | None, write: Callable[[str], None]) -> None:
        self._types = types
        self._write = write
        self._text: list[str] = []
        self._size = 0
        self._may_stream = types is not None and "string" in types and types <= _STRING_OR_NULL
        self._streams = False

    def add(self, text: str) -> None:
        """More of the value."""
        if self._streams:
            self._write(escaped(text))
            return
        self._text.append(text)
        self._size += len(text)
        if self._may_stream and not self._may_be_null():
            self._streams = True
            self._write('"' + escaped("".join(self._text)))

    def end(self) -> None:
        """The value ends."""
        if self._streams:
            self._write('"')
        else:
            self._write(to_json("".join(self._text), self._types))

    def _may_be_null(self) -> bool:
        assert self._types is not None
        if "null" not in self._types or self._size > len("null"):
            return False
        text = "".join(self._text)
        return any(word.startswith(text) for word in _NULLS)


def to_json(text: str, types: frozenset[str] | None) -> str:
    """The JSON of a value that is written as bare text.

    What doesn't fit its type stays a string.

    Args:
        text: the value, as the model wrote it.
        types: names of JSON's types that it may have; None: any.
    """
    bare = text.strip()
    if types is not None and "string" not in types and is_json(bare, '"'):
        return bare
    if is_json(bare, _BARE):
        if types is None or not types.isdisjoint(_types_of_json(bare)):
            return bare
    elif types is not None:
        if bare in _PYTHON_WORDS:
            word = _PYTHON_WORDS[bare]
            if not types.isdisjoint(_types_of_json(word)):
                return word
        if bare[:1] in {"{", "["} and not types.isdisjoint(_types_of_json(bare)):
            written = python_to_json(bare)
            if written is not None:
                return written
    return json.dumps(text, ensure_ascii=False)


def _types_of_json(text: str) -> frozenset[str]:
    """The types whose values a text of JSON may be, judged by its beginning."""
    if text[0] == "{":
        return frozenset({"object"})
    if text[0] == "[":
        return frozenset({"array"})
    if text == "null":
        return frozenset({"null"})
    if text in ("true", "false"):
        return frozenset({"boolean"})
    if text.lstrip("-").isdigit() or float(text).is_integer():
        return frozenset({"integer", "number"})
    return frozenset({"number"})
