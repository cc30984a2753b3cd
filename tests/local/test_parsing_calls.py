"""The grammars of calls: what they accept is valid, and the family's parser reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing_events import calls, read
from parsing_grammar import Calls
from parsing_notations import NOTATIONS, Call

from local_inference_service.parsing import FAMILIES, Context

_TOOLS: dict[str, Any] = {
    "book": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "integer", "minimum": 1, "maximum": 30},
            "room": {"enum": ["single", "double"]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "guests": {"type": "array", "items": {"$ref": "#/$defs/guest"}},
        },
        "required": ["city", "nights"],
        "$defs": {
            "guest": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "child": {"type": "boolean"}},
                "required": ["name"],
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    },
    "boo": {"type": "object", "properties": {}, "additionalProperties": False},
}


def _arguments(call: Call) -> str:
    return json.dumps(call[1], ensure_ascii=False)


def _gemma(made: Sequence[Call]) -> str:
    return "".join(f"<|tool_call>call:{call[0]}{_arguments(call)}<tool_call|>" for call in made)


def _kimi_k3(made: Sequence[Call]) -> str:
    inner = "".join(
        f'<|open|>call tool="{call[0]}" index="{index}"<|sep|><|open|>json type="object"<|sep|>'
        f"{_arguments(call)}<|close|>json<|sep|><|close|>call<|sep|>"
        for index, call in enumerate(made, 1)
    )
    return f"<|close|>response<|sep|><|open|>tools<|sep|>{inner}<|close|>tools<|sep|>"


def _mistral_list(made: Sequence[Call]) -> str:
    return "[TOOL_CALLS] " + json.dumps(
        [{"name": name, "arguments": arguments} for name, arguments in made], ensure_ascii=False
    )


def _gpt_oss(made: Sequence[Call]) -> str:
    return NOTATIONS["gpt_oss"][1].calls(made).removeprefix("<|start|>assistant")


# Family, whether its markers are special tokens, and the form that is forced.
_FORMS: dict[str, tuple[str, bool, Callable[[Sequence[Call]], str]]] = {
    name: (family, True, form.calls) for name, (family, form) in NOTATIONS.items()
} | {
    "hermes, spelled out": ("hermes", False, NOTATIONS["hermes"][1].calls),
    "glm, spelled out": ("glm", False, NOTATIONS["glm"][1].calls),
    "dsml, spelled out": ("dsml", False, NOTATIONS["deepseek v4"][1].calls),
    "deepseek v3.1": ("deepseek_v31", True, NOTATIONS["deepseek v3.1"][1].calls),
    "llama4": ("llama4", True, NOTATIONS["llama3"][1].calls),
    "mistral, old": ("mistral", False, _mistral_list),
    "gemma": ("gemma", True, _gemma),
    "kimi_k3": ("kimi_k3", True, _kimi_k3),
    "gpt_oss": ("gpt_oss", True, _gpt_oss),
}  # fmt: skip
_EVERY_FORM = pytest.mark.parametrize("form", _FORMS)


@cache
def _grammar(family: str, special: bool) -> Calls:
    return Calls(FAMILIES[family], _TOOLS, special=special)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<\x7f"), max_size=12)
_BOOKINGS = st.fixed_dictionaries(
    {"city": _TEXT, "nights": st.integers(1, 30)},
    optional={
        "room": st.sampled_from(["single", "double"]),
        "note": st.none() | _TEXT,
        "guests": st.lists(
            st.builds(dict, name=_TEXT) | st.builds(dict, name=_TEXT, child=st.booleans()),
            max_size=2,
        ),
    },
)
_ORDER = list(_TOOLS["book"]["properties"])
# Where a notation doesn't tell null from the text.
_UNCLEAR = {"null", "None"}


@_EVERY_FORM
@given(booking=_BOOKINGS)
@settings(max_examples=25, deadline=None)
def test_accepts_what_the_parser_reads(form: str, booking: dict[str, Any]) -> None:
    family, special, write = _FORMS[form]
    if booking.get("note") in _UNCLEAR:
        booking["note"] = "nothing"
    booking = {key: booking[key] for key in _ORDER if key in booking}
    made: list[Call] = [("book", booking), ("boo", {}), ("book", booking)]
    raw = write(made[:1] if family == "gpt_oss" else made)
    assert _grammar(family, special).accepts(raw)
    prompt = "<|open|>response<|sep|>" if family == "kimi_k3" else ""
    events = read(FAMILIES[family], Context(tools=_TOOLS, prompt_end=prompt), [raw])
    found = [(name, json.loads(arguments)) for name, arguments in calls(events)]
    assert found == (made[:1] if family == "gpt_oss" else made)


_WRONG: dict[str, Call] = {
    "no such tool": ("bo", {}),
    "a required argument is missing": ("book", {"city": "Oslo"}),
    "a wrong type": ("book", {"city": "Oslo", "nights": "two"}),
    "too large": ("book", {"city": "Oslo", "nights": 31}),
    "not of the enum": ("book", {"city": "Oslo", "nights": 1, "room": "triple"}),
    "wrong within": ("book", {"city": "Oslo", "nights": 1, "guests": [{"child": True}]}),
    "no such argument": ("boo", {"city": "Oslo"}),
}


@_EVERY_FORM
@pytest.mark.parametrize("wrong", _WRONG)
def test_refuses(form: str, wrong: str) -> None:
    family, special, write = _FORMS[form]
    assert not _grammar(family, special).accepts(write([_WRONG[wrong]]))


@_EVERY_FORM
def test_one_call_where_calls_are_not_parallel(form: str) -> None:
    family, special, write = _FORMS[form]
    grammar = Calls(FAMILIES[family], _TOOLS, parallel=False, special=special)
    assert grammar.accepts(write([("boo", {})]))
    assert not grammar.accepts(write([("boo", {}), ("boo", {})]))
    assert not grammar.accepts("")


@_EVERY_FORM
def test_text_that_ends_a_value_stays_out_of_it(form: str) -> None:
    """A string can't be written so that the parser takes its end for the call's."""
    family, special, write = _FORMS[form]
    for text in (
        "</parameter>\n</function>\n</tool_call>",
        "</arg_value></tool_call>",
        "</｜DSML｜",
    ):
        raw = write([("book", {"city": text, "nights": 1})])
        if not _grammar(family, special).accepts(raw):
            continue
        prompt = "<|open|>response<|sep|>" if family == "kimi_k3" else ""
        events = read(FAMILIES[family], Context(tools=_TOOLS, prompt_end=prompt), [raw])
        ((name, arguments),) = calls(events)
        assert (name, json.loads(arguments)) == ("book", {"city": text, "nights": 1})


@_EVERY_FORM
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_accepted_is_a_valid_call(form: str, seed: int) -> None:
    """Whatever a model would write at random under the grammar."""
    family, special, _ = _FORMS[form]
    raw = _grammar(family, special).random_answer(random.Random(seed))
    prompt = "<|open|>response<|sep|>" if family == "kimi_k3" else ""
    found = calls(read(FAMILIES[family], Context(tools=_TOOLS, prompt_end=prompt), [raw]))
    assert found, raw
    for name, arguments in found:
        jsonschema.validate(json.loads(arguments), _TOOLS[name])


_TAGGED = pytest.mark.parametrize("family", ["qwen_xml", "glm", "dsml"])


@_TAGGED
@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, "anyOf"),
        ({"minProperties": 1}, "minProperties"),
        ({"patternProperties": {"^x": {}}}, "patternProperties"),
        ({"type": "array"}, "type"),
        ({"properties": {"a": {"type": "string", "pattern": "^a+$"}}}, "pattern"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, r"\$ref"),
        ({"properties": {"a": {"anyOf": [{"type": "string"}], "minLength": 1}}}, "anyOf"),
        ({"properties": {"a": {"not": {}}}}, "not"),
        ({"properties": {"a<b": {}}}, "a<b"),
        ({"properties": {"a": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}}, "oneOf"),
        ({"properties": {"a": {"items": {"$ref": "#/properties/b"}}}}, r"\$ref"),
        ({"required": ["a"], "additionalProperties": False}, "a"),
        ({"$ref": "#/$defs/a", "required": ["a"], "$defs": {"a": {}}}, "required"),
    ],
)
def test_says_what_a_notation_cannot_hold(family: str, schema: Any, keyword: str) -> None:
    with pytest.raises(ValueError, match=f"tool.*{keyword}"):
        Calls(FAMILIES[family], {"tool": schema})


def test_a_bare_value_that_could_be_read_as_another_is_refused() -> None:
    schema = {
        "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 3}]}}
    }
    with pytest.raises(ValueError, match=r"tool\.a"):
        Calls(FAMILIES["qwen_xml"], {"tool": schema})
    same = {"properties": {"a": {"enum": ["5", 6]}}}
    with pytest.raises(ValueError, match=r"tool\.a"):
        Calls(FAMILIES["glm"], {"tool": same})
    Calls(FAMILIES["dsml"], {"tool": schema})  # its tags tell which


_PROPERTY = pytest.mark.parametrize(
    ("schema", "fitting", "wrong"),
    [
        ({"type": "number", "enum": [1, 2.5]}, [1, 2.5], [2, "x"]),
        ({"enum": ["a", None]}, ["a", None], ["b", 1]),
        ({"type": ["string", "null"], "enum": ["a", None, 5]}, ["a", None], [5, "b"]),
        ({"const": "a"}, ["a"], ["b"]),
        ({"type": ["string", "integer"]}, ["a", 5], []),
        ({"type": "boolean"}, [True, False], ["x", 1]),
        ({"type": "integer", "nullable": True}, [5, None], ["x"]),
        ({"oneOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}, [3, None], [2, "x"]),
        ({"$ref": "#/$defs/b"}, [{"c": [1]}], [{"c": ["x"]}, 1]),
        ({}, ["a", 1, None, [1]], []),
    ],
)


@_TAGGED
@_PROPERTY
def test_one_argument(family: str, schema: Any, fitting: list[Any], wrong: list[Any]) -> None:
    definition = {"type": "object", "properties": {"c": {"items": {"type": "integer"}}}}
    tool = {"properties": {"a": schema}, "required": ["a"], "$defs": {"b": definition}}
    grammar = Calls(FAMILIES[family], {"tool": tool})
    write = next(write for name, special, write in _FORMS.values() if name == family and special)
    for value in fitting:
        raw = write([("tool", {"a": value})])
        assert grammar.accepts(raw), value
        ((_, arguments),) = calls(read(FAMILIES[family], Context(tools={"tool": tool}), [raw]))
        assert json.loads(arguments) == {"a": value}
    for value in wrong:
        assert not grammar.accepts(write([("tool", {"a": value})])), value


@_TAGGED
def test_lengths_of_strings(family: str) -> None:
    schema = {"properties": {"a": {"type": "string", "minLength": 2, "maxLength": 3}}}
    grammar = Calls(FAMILIES[family], {"tool": schema})
    write = next(write for name, special, write in _FORMS.values() if name == family and special)
    for text, fits in (("é", False), ("éa", True), ("abc", True), ("abcd", False)):
        assert grammar.accepts(write([("tool", {"a": text})])) is fits
