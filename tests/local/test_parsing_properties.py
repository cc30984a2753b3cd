"""What holds for every parser and every text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing_events import calls, read
from parsing_notations import NOTATIONS, Call, Notation

from local_inference_service.parsing import FAMILIES, Arguments, Context, Reasoning, Text

_TOOLS = {
    "look_up": {"type": "object", "properties": {"text": {"type": "string"}}},
    "add": {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "note": {"type": ["string", "null"]}},
    },
}

# Bits of every notation: together they get parsers further than random letters do.
_BITS = [
    *sorted({marker for family in FAMILIES.values() for marker in family.markers}),
    *("look_up", "add", "x", "text", "note", "function", "thought", "call:", "json", "null"),
    *('{"name": "add", "arguments": ', '{"name": "look_up", "parameters": {', '"text": "'),
    *("<function=add>", "<function=look_up>", "<parameter=x>", "<parameter=text>"),
    *("</parameter>", "</function>", "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
    *('<｜DSML｜invoke name="add">', "</｜DSML｜invoke>", "</｜DSML｜parameter>"),
    *('<｜DSML｜parameter name="x" string="false">', "<｜DSML｜ calls>"),
    *('<｜DSML｜ invoke name="add"/>', "```json\n", "```", "[add(x=", "look_up("),
    *('<|open|>call tool="add" index="1"<|sep|>', "<|close|>call<|sep|>", "<|open|>tools<|sep|>"),
    *('<|open|>argument key="x" type="number"<|sep|>', "<|close|>argument<|sep|>"),
    *("analysis", "final", "commentary to=functions.add", " to=python", "functions.look_up:0"),
    *("None", "true", "12", "-1.5e3", "\\", "\\u00e9", "\x00", "é", "🌸", " ", "\n", "\n\n"),
    *"{}[]():,='\"",
]  # fmt: skip
_TEXTS = st.lists(st.sampled_from(_BITS) | st.text(max_size=3), max_size=20).map("".join)
_PROMPTS = st.sampled_from(
    ["", "<think>\n", "</think>", "<|open|>think<|sep|>", "<|start|>assistant"]
)
_FAMILIES = pytest.mark.parametrize("name", FAMILIES)


@_FAMILIES
@given(text=_TEXTS, prompt=_PROMPTS, cut_off=st.booleans(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_same_events_however_the_text_is_split(
    name: str, text: str, prompt: str, cut_off: bool, data: st.DataObject
) -> None:
    family, context = FAMILIES[name], Context(tools=_TOOLS, prompt_end=prompt)
    whole = read(family, context, [text], cut_off)
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert read(family, context, pieces, cut_off) == whole
    assert read(family, context, list(text), cut_off) == whole


@_FAMILIES
@given(text=_TEXTS, prompt=_PROMPTS, cut_off=st.booleans())
@settings(max_examples=150, deadline=None)
def test_complete_calls_have_an_object(name: str, text: str, prompt: str, cut_off: bool) -> None:
    events = read(FAMILIES[name], Context(tools=_TOOLS, prompt_end=prompt), [text], cut_off)
    for _, arguments in calls(events):
        assert isinstance(json.loads(arguments, parse_constant=pytest.fail), dict)


@_FAMILIES
@given(text=st.text(alphabet=st.characters(exclude_characters="<[{", codec="utf-8")))
@settings(max_examples=50, deadline=None)
def test_text_without_marks_is_text(name: str, text: str) -> None:
    begins_header = name == "gpt_oss" and text.lstrip(" ").startswith("to=")
    events = read(FAMILIES[name], Context(tools=_TOOLS), [text])
    assert begins_header or events == ([Text(text)] if text else [])


_NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


def _values(notation: Notation) -> st.SearchStrategy[Any]:
    strings = st.text(st.characters(codec="utf-8"), max_size=20).filter(
        lambda text: not any(mute in text for mute in notation.mute)
    )
    numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    scalars = st.none() | st.booleans() | numbers | strings
    keys = strings.filter(bool) if notation.keyed else _NAMES
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=5,
    )


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return kinds.get(type(value), "null")


def _schema(arguments: dict[str, Any]) -> dict[str, Any]:
    properties = {key: {"type": _type(value)} for key, value in arguments.items()}
    return {"type": "object", "properties": properties}


def _same(one: Any, other: Any) -> bool:
    """Equal, type by type, but that JSON has one type of number."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=0, abs_tol=0)
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize("notation", NOTATIONS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reads_back_what_the_template_writes(notation: str, data: st.DataObject) -> None:
    family, form = NOTATIONS[notation]
    values = _values(form)
    made: list[Call] = data.draw(
        st.lists(
            st.tuples(_NAMES, st.dictionaries(_NAMES, values, max_size=4)),
            min_size=1,
            max_size=3,
            unique_by=lambda call: call[0],
        )
    )
    thought = data.draw(st.sampled_from([None, "I think,\n\nso it is."])) if form.thought else None
    text = data.draw(st.sampled_from(["", "Just a moment."]))
    if family in ("llama3", "llama4", "gpt_oss"):
        text = ""  # their calls make up the whole answer, or another message
    raw = form.thought.format(thought) if form.thought and thought else ""
    raw += (text + form.separator if text else "") + form.calls(made)
    if family == "gpt_oss" and not thought:
        raw = raw.removeprefix("<|start|>assistant")
    tools = {name: _schema(arguments) for name, arguments in made}
    prompt = form.prompt if thought else form.no_thought
    events = read(FAMILIES[family], Context(tools=tools, prompt_end=prompt), [raw])

    found = calls(events)
    assert [name for name, _ in found] == [name for name, _ in made]
    for (_, arguments), (_, expected) in zip(found, made, strict=True):
        assert _same(expected, json.loads(arguments)), arguments
    assert [event.text for event in events if isinstance(event, Reasoning)] == (
        [thought] if thought else []
    )
    assert [event.text for event in events if isinstance(event, Text)] == ([text] if text else [])


@pytest.mark.parametrize("notation", NOTATIONS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_call_that_is_cut_off_is_not_complete(notation: str, data: st.DataObject) -> None:
    family, form = NOTATIONS[notation]
    arguments = {"text": "some text", "more": {"list": [1, 2]}}
    raw = form.calls([("look_up", arguments)]).removeprefix("<|start|>assistant")
    end = data.draw(st.integers(0, raw.rindex("2")))
    context = Context(tools={"look_up": _schema(arguments)}, prompt_end=form.no_thought)
    events = read(FAMILIES[family], context, [raw[:end]], cut_off=True)
    assert calls(events) == []
    assert not any(isinstance(event, Reasoning) for event in events)
    shown = "".join(event.text for event in events if isinstance(event, Text | Arguments))
    assert len(shown) <= len(raw) + 2  # nothing is made up
