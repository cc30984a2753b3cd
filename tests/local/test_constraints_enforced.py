"""What can't be enforced is refused by name; what is enforced holds to the letter."""

from __future__ import annotations

import json
import re
from typing import Any

import chat_templates
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_inference_service.constraints import Compiler, Grammar, GrammarError, grammar_of
from local_inference_service.constraints._lark import json_term
from local_inference_service.constraints._other_names import other_than
from local_inference_service.parsing import FAMILIES, Context
from marsys.v1 import ErrorReason, GenerateRequest, OutputFormat
from serving.errors import ServiceError

_NAMED: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return chat_templates.tokenizer_with(None)


@pytest.fixture(scope="module")
def compiler(tokenizer) -> Compiler:
    return Compiler(tokenizer, len(tokenizer), [tokenizer.eos_token_id])


def _grammar(compiler: Compiler, **form: Any) -> Grammar:
    request = GenerateRequest(model="m", output_format=OutputFormat(**form))
    return grammar_of(request, FAMILIES["plain"], Context(), [], True, compiler.special, False)


def _of_schema(compiler: Compiler, schema: Any) -> Grammar:
    return _grammar(compiler, json_schema={"schema_json": json.dumps(schema)})


def _takes(compiler: Compiler, tokenizer: Any, grammar: Grammar, text: str) -> bool:
    mask = compiler.mask(grammar)
    try:
        for token in [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]:
            mask.took(token)
    except GrammarError:
        return False
    return True


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "uniqueItems": True}, "#: uniqueItems"),
        ({"properties": {"a": {"not": {"type": "null"}}}}, "#/properties/a: not"),
        ({"items": {"anyOf": [{"if": {}, "type": "null"}]}}, "#/items/anyOf/0: if"),
        ({"type": "string", "nullable": True}, "#: nullable"),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"type": "integer", "minimum": 2**53 + 1}, f"#: minimum {2**53 + 1}"),
        ({"type": "integer", "multipleOf": 123456789}, "#: multipleOf 123456789"),
        ({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}, "#/allOf/1: multipleOf 991"),
        ({"type": "object", "minProperties": 2}, "#: minProperties 2"),
        (
            {"patternProperties": {"^a": {}}, "additionalProperties": {"type": "null"}},
            "#: additionalProperties beside patternProperties",
        ),
    ],
)
def test_what_cannot_be_enforced_is_refused(compiler, schema, said):
    with pytest.raises(ServiceError) as caught:
        compiler.check(_of_schema(compiler, schema))
    error = caught.value.error
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert error.field == "output_format.json_schema.schema_json"
    assert said in error.message


@pytest.mark.parametrize(
    "schema",
    [
        {"title": "T", "type": "null", "x-mine": 1, "examples": [None], "$comment": "no"},
        {"type": "array", "items": {"type": "null"}, "uniqueItems": False},
        {"type": "integer", "minimum": 2**53, "multipleOf": 1_000_000},
        {"type": "object", "minProperties": 2, "required": ["a"]},
    ],
)
def test_what_has_no_effect_is_let_through(compiler, schema):
    compiler.check(_of_schema(compiler, schema))


def test_lenient_leaves_out_what_cannot_be_enforced(compiler, tokenizer):
    schema = {"type": "array", "items": {"type": "integer", "multipleOf": 99991}, "contains": {}}
    grammar = Grammar(f"start: {json_term(schema, lenient=True)}", "schema")
    assert _takes(compiler, tokenizer, grammar, "[1, 2]")
    assert not _takes(compiler, tokenizer, grammar, '["a"]')


@pytest.mark.parametrize(
    ("schema", "text", "taken"),
    [
        (_NAMED, '{"a": 1}', True),
        (_NAMED, '{"b": 1}', False),
        (_NAMED | {"additionalProperties": True}, '{"a": 1, "b": "x"}', True),
        (_NAMED | {"additionalProperties": True}, '{"\\u0061": "x"}', False),
        (_NAMED | {"additionalProperties": {"type": "null"}}, '{"ab": null, "": null}', True),
        (_NAMED | {"additionalProperties": {"type": "null"}}, '{"a": null}', False),
        (_NAMED | {"additionalProperties": True, "required": ["z"]}, '{"a": 1}', False),
        (_NAMED | {"additionalProperties": True, "required": ["z"]}, '{"a": 1, "z": 2}', True),
        ({"type": "object", "patternProperties": {"^a": {"type": "null"}}}, '{"ab": null}', True),
        ({"type": "object", "patternProperties": {"^a": {"type": "null"}}}, '{"b": 1}', False),
        (False, "1", False),
    ],
)
def test_keys_are_those_that_the_schema_allows(compiler, tokenizer, schema, text, taken):
    grammar = Grammar(f"start: {json_term(schema)}", "schema")
    try:
        assert _takes(compiler, tokenizer, grammar, text) == taken
    except ServiceError:  # no value validates
        assert schema is False


def test_a_schema_nested_too_deeply_is_refused(compiler):
    schema: Any = {"type": "null"}
    for _ in range(250):
        schema = {"anyOf": [schema]}
    with pytest.raises(ServiceError) as caught:
        compiler.check(_of_schema(compiler, schema))
    assert caught.value.error.field == "output_format.json_schema.schema_json"


_NAMES = st.sets(st.text("abé^-\\]\n", max_size=4), min_size=1, max_size=4)


@given(names=_NAMES, others=_NAMES)
def test_other_names_are_all_but_those(names, others):
    # Python writes code points and flags differently.
    pattern = re.sub(r"\\x\{(\w+)\}", lambda m: f"\\U{int(m[1], 16):08x}", other_than(names))
    for name in names | others:
        assert bool(re.fullmatch(pattern.removesuffix("$"), name)) == (name not in names)


def test_choices(compiler, tokenizer):
    choices = ["yes", "yes, sir", 'no "no"', "né\n😀", *(f"number {n}" for n in range(5000))]
    grammar = _grammar(compiler, choice={"choices": choices})
    for text in choices[:5] + choices[-1:]:
        assert _takes(compiler, tokenizer, grammar, text)
    for text in ("", "ye", "yesyes", "number 5000"):
        assert not _takes(compiler, tokenizer, grammar, text)


@pytest.mark.parametrize(
    ("pattern", "text", "taken"),
    [
        ("a|bc", "bc", True),
        ("a|bc", "abc", False),
        ("[a-z]+/\\d\\/x", "ab/1/x", True),
        ("a\nb", "a\nb", True),
        ("(?x) a\nb # both", "ab", True),
    ],
)
def test_expressions_match_the_whole_answer(compiler, tokenizer, pattern, text, taken):
    assert (
        _takes(compiler, tokenizer, _grammar(compiler, regex={"pattern": pattern}), text) == taken
    )


@pytest.mark.parametrize("pattern", ["(", "a\\", "(?=a)b", "(" * 4000 + ")" * 4000])
def test_wrong_expressions_are_refused(compiler, pattern):
    with pytest.raises(ServiceError) as caught:
        compiler.check(_grammar(compiler, regex={"pattern": pattern}))
    assert caught.value.error.field == "output_format.regex.pattern"
    assert len(caught.value.error.message) < 1000


def test_rules_of_a_grammar_may_have_any_name(compiler, tokenizer):
    lark = 'start: form answer "start" // start\nform: /start\\d/\nanswer: "a"\nthought: "b"'
    grammar = _grammar(compiler, grammar={"lark": lark})
    assert _takes(compiler, tokenizer, grammar, "start1astart")
    assert not _takes(compiler, tokenizer, grammar, "start1a")


@pytest.mark.parametrize(
    "lark",
    [
        'begin: "a"',
        "start: missing",
        "start: (",
        'start: %json {"multipleOf": 123456789}',
        'start: %lark { start: "a" }',
        '%llguidance {"allow_invalid_utf8": true}\nstart: "a"',
        "start: " + "(" * 5000 + '"a"' + ")" * 5000,
    ],
)
def test_wrong_grammars_are_refused(compiler, lark):
    with pytest.raises(ServiceError) as caught:
        compiler.check(_grammar(compiler, grammar={"lark": lark}))
    assert caught.value.error.field == "output_format.grammar.lark"
