"""Bad requests get an error that names the field."""

from __future__ import annotations

import base64
import math

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from marsys.v1 import ErrorReason, GenerateRequest
from serving.errors import ServiceError
from serving.validation import validate

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 40).decode()
USER = {"role": "ROLE_USER", "parts": [{"text": {"text": "hi"}}]}
CALL = {
    "role": "ROLE_ASSISTANT",
    "parts": [{"tool_call": {"id": "c1", "name": "f", "arguments_json": "{}"}}],
}
RESULT = {"role": "ROLE_TOOL", "parts": [{"tool_result": {"tool_call_id": "c1"}}]}
TOOL = {"name": "f", "parameters_json": '{"type": "object"}'}


def request(**fields) -> GenerateRequest:
    return json_format.ParseDict({"model": "m", "messages": [USER], **fields}, GenerateRequest())


def user(**part) -> dict:
    return {"role": "ROLE_USER", "parts": [part]}


GOOD = {
    "plain": {},
    "every role": {"messages": [{**USER, "role": "ROLE_SYSTEM"}, USER, CALL, RESULT, USER]},
    "tool result last": {"messages": [USER, CALL, RESULT]},
    "prefill": {"messages": [USER, {**USER, "role": "ROLE_ASSISTANT"}]},
    "knobs": {"config": {"temperature": 0, "top_p": 1, "top_k": 0, "seed": -5, "max_tokens": 1}},
    "image bytes": {"messages": [user(media={"media_type": "image/png", "data": PNG})]},
    "data url": {"messages": [user(media={"uri": f"data:image/png;base64,{PNG}"})]},
    "https url": {"messages": [user(media={"uri": "https://example.com/a.png"})]},
    "tools": {"tools": [TOOL], "tool_choice": {"tool_name": "f"}},
    "no tools, choice none": {"tool_choice": {"mode": "TOOL_CHOICE_MODE_NONE"}},
    "schema": {"output_format": {"json_schema": {"schema_json": '{"type": "object"}'}}},
    "options": {"provider_options_json": {"user": '"me"'}},
}

BAD = {
    "model": {"model": " "},
    "messages": {"messages": []},
    "messages[0].role": {"messages": [{"parts": USER["parts"]}]},
    "messages[0].parts": {"messages": [{"role": "ROLE_USER"}]},
    "messages[0].parts[0]": {"messages": [{"role": "ROLE_USER", "parts": [{}]}]},
    "messages[0].name": {"messages": [{**USER, "name": ""}]},
    "messages[0].parts[0].tool_call": {"messages": [{**CALL, "role": "ROLE_USER"}]},
    "messages[1].parts[0].tool_result.tool_call_id": {"messages": [USER, RESULT]},
    "messages[2]": {"messages": [USER, CALL, USER]},
    "messages[1].parts[0].tool_call.id": {
        "messages": [USER, {"role": "ROLE_ASSISTANT", "parts": [{"tool_call": {"name": "f"}}]}]
    },
    "messages[0].parts[0].tool_call.incomplete": {
        "messages": [
            {
                "role": "ROLE_ASSISTANT",
                "parts": [{"tool_call": {"id": "c1", "name": "f", "incomplete": True}}],
            }
        ]
    },
    "messages[0].parts[0].media": {"messages": [user(media={})]},
    "messages[0].parts[0].media.media_type": {"messages": [user(media={"data": PNG})]},
    "messages[0].parts[0].media.data": {
        "messages": [user(media={"media_type": "image/jpeg", "data": PNG})]
    },
    "messages[0].parts[0].media.uri": {
        "messages": [user(media={"uri": "ftp://example.com/cat.png"})]
    },
    "config.max_tokens": {"config": {"max_tokens": 0}},
    "config.temperature": {"config": {"temperature": 2.1}},
    "config.top_p": {"config": {"top_p": 0}},
    "config.top_k": {"config": {"top_k": -1}},
    "config.min_p": {"config": {"min_p": 1.01}},
    "config.frequency_penalty": {"config": {"frequency_penalty": -2.5}},
    "config.presence_penalty": {"config": {"presence_penalty": 3}},
    "config.repetition_penalty": {"config": {"repetition_penalty": 0}},
    "config.stop_sequences[1]": {"config": {"stop_sequences": ["a", ""]}},
    "config.stop_sequences": {"config": {"stop_sequences": ["a"] * 17}},
    "config.prompt_cache_key": {"config": {"prompt_cache_key": ""}},
    "config.reasoning.budget_tokens": {"config": {"reasoning": {"budget_tokens": -1}}},
    "tools[0].name": {"tools": [{"name": "no spaces"}]},
    "tools[1].name": {"tools": [TOOL, TOOL]},
    "tools[0].parameters_json": {"tools": [{"name": "f", "parameters_json": '{"type": 12}'}]},
    "tool_choice": {"tool_choice": {"mode": "TOOL_CHOICE_MODE_REQUIRED"}},
    "tool_choice.tool_name": {"tools": [TOOL], "tool_choice": {"tool_name": "g"}},
    "output_format": {"output_format": {}},
    "output_format.json_schema.schema_json": {
        "output_format": {"json_schema": {"schema_json": '{"type": '}}
    },
    "output_format.json_schema.name": {
        "output_format": {"json_schema": {"schema_json": "{}", "name": "a b"}}
    },
    "output_format.regex.pattern": {"output_format": {"regex": {}}},
    "output_format.grammar.lark": {"output_format": {"grammar": {}}},
    "output_format.choice.choices": {"output_format": {"choice": {"choices": ["a", ""]}}},
    "policy.max_attempts": {"policy": {"max_attempts": 11}},
    "policy.idle_timeout": {"policy": {"idle_timeout": "0s"}},
    'provider_options_json["x"]': {"provider_options_json": {"x": "{'a': 1}"}},
}


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD.keys())
def test_what_is_allowed(fields):
    validate(request(**fields))


@pytest.mark.parametrize(("field", "fields"), BAD.items(), ids=BAD.keys())
def test_what_is_refused_and_which_field_is_named(field, fields):
    with pytest.raises(ServiceError) as caught:
        validate(request(**fields))
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST
    assert caught.value.error.field == field
    assert caught.value.error.message.startswith(field)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("knob", ["temperature", "top_p", "min_p", "presence_penalty"])
def test_numbers_that_are_none(knob, value):
    bad = request()
    setattr(bad.config, knob, value)
    with pytest.raises(ServiceError) as caught:
        validate(bad)
    assert caught.value.error.field == f"config.{knob}"


@pytest.mark.parametrize("text", ["{", "NaN", "[1", '{"a": Infinity}', "[" * 100_000])
def test_json_texts_that_are_none(text):
    with pytest.raises(ServiceError) as caught:
        validate(request(provider_options_json={"x": text}))
    assert caught.value.error.field == 'provider_options_json["x"]'


@pytest.mark.parametrize(
    "text", ["[]", '"x"', "null", '{"properties": 3}', '{"$ref": 7}', '{"required": "a"}']
)
def test_schemas_that_are_none(text):
    with pytest.raises(ServiceError) as caught:
        validate(request(output_format={"json_schema": {"schema_json": text}}))
    assert caught.value.error.field == "output_format.json_schema.schema_json"


@given(st.binary(max_size=400))
def test_whatever_parses_is_checked_without_another_error(data):
    message = GenerateRequest()
    try:
        message.ParseFromString(data)
    except Exception:
        return
    try:
        validate(message)
    except ServiceError as error:
        assert error.error.field
