"""Answers that are held to a form, and calls that must be made, on real models."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from lessons import WEATHER, asked
from subjects import Failed, Subject

from marsys.v1 import (
    ErrorReason,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    ToolChoiceMode,
    ToolDefinition,
    UnsupportedPolicy,
    WarningCode,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "pets": {"type": "array", "items": {"$ref": "#/$defs/pet"}, "maxItems": 2},
    },
    "required": ["name", "age", "pets"],
    "$defs": {
        "pet": {
            "type": "object",
            "properties": {
                "kind": {"enum": ["cat", "dog"]},
                "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,8}$"},
            },
            "required": ["kind", "name"],
        }
    },
}
ADD = ToolDefinition(
    name="add",
    description="Adds two numbers.",
    parameters_json=json.dumps(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        }
    ),
)
UNIQUE = {"type": "array", "uniqueItems": True, "items": {"type": "integer"}, "maxItems": 2}


def embedded(test: Any) -> Any:
    """Asks the embedded model. One way will do: the other differs in nothing that forms touch."""
    return pytest.mark.model_class("llm")(pytest.mark.way("grpc")(test))


def text_of(response: GenerateResponse) -> str:
    return "".join(part.text.text for part in response.message.parts)


async def complete(subject: Subject, request: GenerateRequest) -> str:
    response = await subject.ask(request)
    assert response.finish_reason == FinishReason.FINISH_REASON_STOP
    assert not response.warnings
    return text_of(response)


def plain(words: str) -> GenerateRequest:
    return asked(words, tools=False)


@embedded
async def test_a_schema(subject):
    request = plain("Describe Ann, who is 42 and has a cat, as JSON.")
    request.output_format.json_schema.schema_json = json.dumps(PERSON)
    jsonschema.validate(json.loads(await complete(subject, request)), PERSON)


@embedded
async def test_any_object(subject):
    request = plain("Describe Ann as JSON, in a word.")
    request.output_format.json_object.SetInParent()
    request.config.temperature, request.config.seed = 1, 3
    response = await subject.ask(request)
    if response.finish_reason == FinishReason.FINISH_REASON_STOP:
        assert isinstance(json.loads(text_of(response)), dict)
    assert text_of(response).startswith("{")


@embedded
@pytest.mark.parametrize("pattern", [r"[0-9]{3}-[0-9]{4}", r"(yes|no)/(a|b)", 'say "[a-z]{2,4}"'])
async def test_an_expression(subject, pattern):
    request = plain("Say something.")
    request.output_format.regex.pattern = pattern
    assert re.fullmatch(pattern, await complete(subject, request))


@embedded
async def test_a_choice(subject):
    choices = ["red", "dark green", 'blue "sky"', "ü"]
    request = plain("Which colour has grass?")
    request.output_format.choice.choices.extend(choices)
    assert await complete(subject, request) in choices


@embedded
async def test_a_grammar(subject):
    request = plain("Add something.")
    request.output_format.grammar.lark = 'start: NUMBER "+" start | NUMBER\nNUMBER: /[1-9]{1,2}/'
    request.config.max_tokens = 40
    response = await subject.ask(request)
    assert re.fullmatch(r"[1-9+]*", text_of(response))


@embedded
async def test_a_call_that_must_be_made(subject):
    request = plain("What is 3 plus 4?")
    request.tools.extend([WEATHER, ADD])
    request.tool_choice.mode = ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED
    request.tool_choice.allow_parallel_calls = False
    response = await subject.ask(request)
    assert response.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    (part,) = response.message.parts
    tool = {"get_weather": WEATHER, "add": ADD}[part.tool_call.name]
    arguments = json.loads(part.tool_call.arguments_json)
    jsonschema.validate(arguments, json.loads(tool.parameters_json))


@embedded
@pytest.mark.parametrize("tool", [WEATHER, ADD], ids=["get_weather", "add"])
async def test_one_tool_that_must_be_called(subject, tool):
    request = plain("What is 3 plus 4?")
    request.tools.extend([WEATHER, ADD])
    request.tool_choice.tool_name = tool.name
    response = await subject.ask(request)
    assert response.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    (part,) = response.message.parts
    assert part.tool_call.name == tool.name
    arguments = json.loads(part.tool_call.arguments_json)
    jsonschema.validate(arguments, json.loads(tool.parameters_json))


@embedded
async def test_what_a_schema_asks_in_vain_is_refused_or_warned_of(subject):
    request = plain("Name two numbers as JSON.")
    request.output_format.json_schema.schema_json = json.dumps(UNIQUE)
    with pytest.raises(Failed) as caught:
        await subject.ask(request)
    error = caught.value.error
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert error.field == "output_format.json_schema.schema_json"
    assert "uniqueItems" in error.message
    request.on_unsupported = UnsupportedPolicy.UNSUPPORTED_POLICY_WARN
    response = await subject.ask(request)
    assert isinstance(json.loads(text_of(response)), list)
    (warning,) = response.warnings
    assert warning.code == WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER
    assert "uniqueItems" in warning.message


@embedded
@pytest.mark.parametrize(
    ("form", "value", "field"),
    [
        ("regex", {"pattern": "(unclosed"}, "pattern"),
        ("regex", {"pattern": "(?=a)b"}, "pattern"),
        ("grammar", {"lark": "start: nowhere"}, "lark"),
        ("grammar", {"lark": "this is no grammar"}, "lark"),
        ("json_schema", {"schema_json": '{"$ref": "https://example.com/x"}'}, "schema_json"),
        (
            "json_schema",
            {"schema_json": '{"type": "string", "minLength": 5, "maxLength": 2}'},
            "schema_json",
        ),
    ],
)
async def test_what_is_no_form(subject, form, value, field):
    request = plain("Say something.")
    for name, content in value.items():
        setattr(getattr(request.output_format, form), name, content)
    with pytest.raises(Failed) as caught:
        await subject.ask(request)
    assert caught.value.error.field == f"output_format.{form}.{field}"
    assert caught.value.error.message


@pytest.mark.model_class("taught")
async def test_a_thought_before_the_form_is_free(subject):
    request = asked("As JSON?", tools=False)
    request.output_format.json_schema.schema_json = json.dumps(
        {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
        }
    )
    response = await subject.ask(request)
    thought, text = response.message.parts
    assert thought.reasoning.text == "Paris, I think."
    assert json.loads(text.text.text) == {"city": "Paris"}
