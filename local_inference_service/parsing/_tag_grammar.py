"""Which text the arguments of a tool may be, where each stands between tags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeAlias

from local_inference_service.parsing._call_rules import CallRules
from local_inference_service.parsing._schema_types import resolve, types_of, types_of_value
from local_inference_service.parsing._typed_values import NO_STRING, to_json
from local_inference_service.parsing.family import Schema

_DEFINITIONS = ("$defs", "definitions")
_NOTES = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"$comment", "$schema", "$id", "format", "contentEncoding", "contentMediaType", *_DEFINITIONS}
)
_OF_OBJECT = _NOTES | {
    "type", "properties", "required", "additionalProperties", "unevaluatedProperties",
}  # fmt: skip
_OF_STRING = _NOTES | {"type", "minLength", "maxLength"}
_OTHER_REFERENCE = re.compile(r'"\$ref": "(?!#/(?:\$defs|definitions)/)')
_MAX_DEPTH = 16

Write: TypeAlias = Callable[[str, "Allowed"], str]


class Allowed:
    """What an argument may be.

    Args:
        schema: of the argument.
        root: of all arguments.
        where: the argument, for errors.

    Attributes:
        takes_string: whether it may be a string.
        strings: the strings, if it may only be one of some; None: any.
        size: how many characters a string has, as "{2,5}"; empty: any number.
        other: the schema of what it may be beside a string; None: nothing.

    Raises:
        ValueError: the schema says what can't be enforced here.
    """

    def __init__(self, schema: Any, root: Schema, where: str) -> None:
        self.takes_string = False
        self.strings: list[str] | None = None
        self.size = ""
        self.other: Schema | None = None
        self._where = where
        self._root = root
        self._types = types_of(schema, root)
        self._loose = True  # whether all values of the types in `other` are valid
        others: list[Schema] = []
        for branch in self._branches(schema, 0):
            self._add(branch, others)
        if others:
            definitions = {key: root[key] for key in _DEFINITIONS if key in root}
            self.other = {**(others[0] if len(others) == 1 else {"anyOf": others}), **definitions}
            if _OTHER_REFERENCE.search(json.dumps(others)):
                self._refuse("a $ref to what is no definition")

    def check_bare(self) -> None:
        """Check that a text tells by itself whether it is a string.

        Raises:
            ValueError: a string could be read as another value, which isn't valid.
        """
        if not self.takes_string or self.other is None:
            return
        if self.strings is None and (self.size or not self._loose):
            self._refuse("a string beside other values, where one of them has limits,")
        for text in self.strings or ():
            if to_json(text, self._types) != json.dumps(text, ensure_ascii=False):
                self._refuse(f"the string {text!r} beside values that look the same")

    def _branches(self, schema: Any, depth: int) -> list[Mapping[str, Any]]:
        """The schemas without alternatives that a schema is made of."""
        if schema is True:
            return [{}]
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            self._refuse("its schema")
        if "$ref" in schema:
            self._check_alone("$ref", schema)
            target = resolve(schema["$ref"], self._root)
            if target is None:
                self._refuse("a $ref that leads nowhere")
            return self._branches(target, depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                self._check_alone(key, schema)
                if key == "oneOf":
                    self._check_disjoint(schema[key])
                parts = [self._branches(part, depth + 1) for part in schema[key]]
                return [branch for part in parts for branch in part]
        if schema.get("nullable") is True:
            rest = {key: value for key, value in schema.items() if key != "nullable"}
            return [*self._branches(rest, depth + 1), {"type": "null"}]
        if isinstance(schema.get("type"), list) and not schema.keys() & {"enum", "const"}:
            return [{**schema, "type": name} for name in schema["type"]]
        return [schema]

    def _add(self, branch: Mapping[str, Any], others: list[Schema]) -> None:
        types = types_of(branch, self._root)
        values = [branch["const"]] if "const" in branch else branch.get("enum")
        if isinstance(values, list) and types is not None:
            valid = [value for value in values if types & types_of_value(value)]
            self._add_strings([value for value in valid if isinstance(value, str)])
            rest = [value for value in valid if not isinstance(value, str)]
            if rest:
                self._loose = False
                others.append({"enum": rest})
        elif types is None:
            self._check_known(branch, _NOTES)
            self.takes_string, self.strings = True, None
            others.append({"type": sorted(NO_STRING)})
        elif types == {"string"}:
            self._check_known(branch, _OF_STRING)
            self.takes_string, self.strings = True, None
            if "minLength" in branch or "maxLength" in branch:
                self.size = f"{{{branch.get('minLength', 0)},{branch.get('maxLength', '')}}}"
        else:
            self._loose = self._loose and not branch.keys() - _NOTES - {"type"}
            others.append({key: one for key, one in branch.items() if key not in _DEFINITIONS})

    def _add_strings(self, strings: list[str]) -> None:
        if strings and (self.strings is not None or not self.takes_string):
            self.takes_string = True
            self.strings = [*(self.strings or []), *strings]

    def _check_known(self, schema: Mapping[str, Any], known: Collection[str]) -> None:
        if unknown := schema.keys() - set(known):
            self._refuse(min(unknown))

    def _check_alone(self, key: str, schema: Mapping[str, Any]) -> None:
        if schema.keys() - _NOTES - {key}:
            self._refuse(f"{key} beside other keywords")

    def _check_disjoint(self, schemas: list[Any]) -> None:
        seen: frozenset[str] = frozenset()
        for schema in schemas:
            types = types_of(schema, self._root)
            if types is None or types & seen:
                self._refuse("oneOf of values of the same type")
            seen |= types

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{self._where}: {what} can't be enforced in this model's notation")


def bare_value(rules: CallRules, value: Allowed, end: str, without: tuple[str, ...]) -> str:
    """The term for a value that is written without its type.

    Args:
        rules: takes more rules.
        value: what it may be.
        end: the literal after it.
        without: texts that a string can't hold.

    Raises:
        ValueError: a string could be read as another value, which isn't valid.
    """
    value.check_bare()
    if value.takes_string and value.strings is None:
        return rules.free_text(end, without, value.size)
    forms = [rules.one_of(value.strings, end)] if value.strings else []
    if value.other is not None:
        forms.append(f"{rules.json(value.other)} {rules.literal(end)}")
    return "(" + " | ".join(forms) + ")"


def argument_rules(rules: CallRules, name: str, schema: Schema, write: Write) -> str:
    """The body of a rule for a tool's arguments, in the order of its schema's properties.

    Args:
        rules: takes more rules.
        name: the tool, for errors.
        schema: of the arguments.
        write: the name of an argument and what it may be -> the term for the argument, tags
            included.

    Raises:
        ValueError: the schema says what can't be enforced here.
    """
    properties, required = _arguments(name, schema)
    terms = []
    for key, one in properties.items():
        if not key or set(key) & set('<>"\n'):
            raise ValueError(f"{name}.{key}: the name has no form in this model's notation")
        term = rules.rule(write(key, Allowed(one, schema, f"{name}.{key}")))
        terms.append(term if key in required else f"{term}?")
    return " ".join(terms)


def _arguments(name: str, root: Schema) -> tuple[Mapping[str, Any], Collection[str]]:
    """The schema of each argument, and which ones are required."""
    schema: Any = root
    unknown: set[str] = set()
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        unknown |= schema.keys() - _NOTES - {"$ref", "type"}
        schema = resolve(schema["$ref"], root)
    if not isinstance(schema, Mapping) or "$ref" in schema:
        raise ValueError(f"{name}: its $ref leads nowhere")
    unknown |= schema.keys() - _OF_OBJECT
    if unknown or schema.get("type", "object") != "object":
        keyword = min(unknown, default="type")
        raise ValueError(f"{name}: {keyword} can't be enforced in this model's notation")
    required = schema.get("required", ())
    properties = dict(schema.get("properties", {}))
    for key in required:
        properties.setdefault(key, schema.get("additionalProperties", True))
        if properties[key] is False:
            raise ValueError(f"{name}.{key}: it is required, and can't be given")
    return {key: one for key, one in properties.items() if one is not False}, required
