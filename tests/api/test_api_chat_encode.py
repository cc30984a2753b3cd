"""What the OpenAI Chat Completions codec refuses, and names."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from api_upstream import ask

from api_service.providers.capabilities import UNKNOWN, family_of
from api_service.providers.codec import Upstream
from api_service.providers.openai_chat import ChatCodec
from api_service.providers.strict_schema import NotStrict, strict_schema
from api_service.providers.table import CUSTOM, OPENAI, OPENROUTER, XAI, ProviderRow
from marsys.v1 import ErrorReason, GenerateRequest, WarningCode
from serving.errors import ServiceError
from serving.event_writer import EventWriter

WARN = "UNSUPPORTED_POLICY_WARN"
TOOL_IMAGE = [
    {"role": "ROLE_USER", "parts": [{"text": {"text": "x"}}]},
    {"role": "ROLE_ASSISTANT", "parts": [{"toolCall": {"id": "c", "name": "f"}}]},
    {
        "role": "ROLE_TOOL",
        "parts": [
            {
                "toolResult": {
                    "toolCallId": "c",
                    "content": [{"media": {"mediaType": "image/png", "data": "eA=="}}],
                }
            }
        ],
    },
]


def encode(
    request: GenerateRequest, row: ProviderRow, model: str, stream: bool = False
) -> tuple[dict[str, Any], list[Any]]:
    """The body and the warnings."""
    writer = EventWriter()
    wire = ChatCodec().encode(request, Upstream(row, model), stream, writer)
    body: dict[str, Any] = orjson.loads(wire.body)
    return body, [event.warning_raised.warning for event in writer.take()]


CASES: list[tuple[ProviderRow, str, dict[str, Any], str]] = [
    (OPENAI, "gpt-5", {"config": {"temperature": 0.5}}, "config.temperature"),
    (OPENAI, "o3", {"config": {"topP": 0.5}}, "config.top_p"),
    (OPENAI, "gpt-4o", {"config": {"topK": 5}}, "config.top_k"),
    (OPENAI, "gpt-4o", {"config": {"minP": 0.5}}, "config.min_p"),
    (OPENAI, "gpt-4o", {"config": {"stopSequences": list("abcde")}}, "config.stop_sequences"),
    (
        OPENAI,
        "gpt-4o",
        {"config": {"reasoning": {"effort": "REASONING_EFFORT_LOW"}}},
        "config.reasoning.effort",
    ),
    (
        OPENAI,
        "gpt-5",
        {"config": {"reasoning": {"budgetTokens": 9}}},
        "config.reasoning.budget_tokens",
    ),
    (XAI, "grok-4", {"config": {"presencePenalty": 1}}, "config.presence_penalty"),
    (XAI, "grok-4", {"config": {"promptCacheKey": "k"}}, "config.prompt_cache_key"),
    (
        OPENROUTER,
        "anthropic/claude-opus-4.7",
        {"config": {"temperature": 1}},
        "config.temperature",
    ),
    (XAI, "grok-3", {"tools": [{"name": "f", "strict": True}]}, "tools[0].strict"),
    (
        OPENAI,
        "gpt-4o",
        {"tools": [{"name": "f", "cacheBreakpoint": {}}]},
        "tools[0].cache_breakpoint",
    ),
    (OPENAI, "gpt-4o", {"outputFormat": {"regex": {"pattern": "a"}}}, "output_format.regex"),
    (CUSTOM, "m", {"outputFormat": {"choice": {"choices": ["a"]}}}, "output_format.choice"),
    (
        OPENAI,
        "gpt-4o",
        {"messages": TOOL_IMAGE},
        "messages[2].parts[0].tool_result.content[0].media",
    ),
    (
        XAI,
        "grok-3",
        {
            "messages": [
                {"role": "ROLE_USER", "name": "ann", "parts": [{"text": {"text": "x"}}]},
            ]
        },
        "messages[0].name",
    ),
    (
        XAI,
        "grok-3",
        {
            "messages": [
                {
                    "role": "ROLE_USER",
                    "parts": [
                        {"text": {"text": "x"}},
                        {"media": {"mediaType": "application/pdf", "data": "eA=="}},
                    ],
                }
            ]
        },
        "messages[0].parts[1].media",
    ),
    (
        OPENAI,
        "gpt-4o",
        {
            "messages": [
                {
                    "role": "ROLE_USER",
                    "parts": [{"text": {"text": "x"}, "cacheBreakpoint": {}}],
                }
            ]
        },
        "messages[0].parts[0].cache_breakpoint",
    ),
]


def request_of(fields: dict[str, Any], **more: Any) -> GenerateRequest:
    request = ask(**{k: v for k, v in fields.items() if k != "messages"}, **more)
    if "messages" in fields:
        del request.messages[:]
        request.MergeFrom(_messages(fields["messages"]))
    return request


def _messages(messages: list[Any]) -> GenerateRequest:
    from google.protobuf import json_format

    return json_format.ParseDict({"messages": messages}, GenerateRequest())


@pytest.mark.parametrize(("row", "model", "fields", "field"), CASES)
def test_refused(row: ProviderRow, model: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        encode(request_of(fields), row, model)
    error = caught.value.error
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert (error.field, error.provider, error.model) == (field, row.name, model)


@pytest.mark.parametrize(("row", "model", "fields", "field"), CASES)
def test_left_out_with_a_warning(
    row: ProviderRow, model: str, fields: dict[str, Any], field: str
) -> None:
    _, warnings = encode(request_of(fields, onUnsupported=WARN), row, model)
    codes = {(warning.code, warning.field) for warning in warnings}
    assert (WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER, field) in codes


def test_neutral_values_are_no_offence() -> None:
    body, warnings = encode(
        ask(config={"topP": 1.0, "frequencyPenalty": 0.0, "topK": 0}), OPENAI, "gpt-5"
    )
    assert not warnings
    assert not {"top_p", "frequency_penalty", "top_k", "temperature"} & body.keys()


def test_options_of_the_provider_win_over_defaults() -> None:
    options = {"max_tokens": "10", "reasoning_effort": '"minimal"'}
    body, _ = encode(ask(providerOptionsJson=options), OPENAI, "gpt-5")
    assert body["max_tokens"] == 10
    assert body["reasoning_effort"] == "minimal"
    assert "max_completion_tokens" not in body


def test_stream_is_not_the_callers_to_say() -> None:
    with pytest.raises(ServiceError) as caught:
        encode(ask(providerOptionsJson={"stream": "true"}), OPENAI, "gpt-4o")
    assert caught.value.error.field == 'provider_options_json["stream"]'


def test_unreadable_state_is_refused() -> None:
    messages = [
        {
            "role": "ROLE_ASSISTANT",
            "parts": [
                {
                    "reasoning": {"text": "x"},
                    "opaqueState": {"issuer": "openai_chat", "data": "bm8="},
                }
            ],
        }
    ]
    with pytest.raises(ServiceError) as caught:
        encode(request_of({"messages": messages}), OPENROUTER, "x/y")
    assert caught.value.error.field == "messages[0].parts[0].opaque_state.data"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-5", "GPT-5 and later"),
        ("openai/gpt-5.2-mini", "GPT-5 and later"),
        ("gpt-12", "GPT-5 and later"),
        ("gpt-5-chat-latest", "GPT chat"),
        ("gpt-5.1-codex-max", "GPT codex"),
        ("o1", "OpenAI o-series"),
        ("o4-mini", "OpenAI o-series"),
        ("o1-mini", "OpenAI o1 (early)"),
        ("gpt-4o-mini", "GPT-4 and 4o"),
        ("gpt-4.1", "GPT-4 and 4o"),
        ("gpt-4", "GPT-4"),
        ("gpt-3.5-turbo", "GPT-3.5"),
        ("grok-3-mini-fast", "Grok 3 mini"),
        ("grok-3", "Grok 2 and 3"),
        ("x-ai/grok-4", "Grok 4"),
        ("grok-4-fast-non-reasoning", "Grok, not reasoning"),
        ("grok-4.3", "Grok with effort"),
        ("anthropic/claude-opus-4.6", "Claude 4.6"),
        ("claude-sonnet-4-20250514", "Claude 3.7 and 4"),
        ("claude-opus-4-7", "Claude 4.7"),
        ("claude-sonnet-5", "Claude 4.8 and later"),
        ("google/gemini-2.5-pro", "Gemini 2.5 Pro"),
        ("gemini-3-pro-preview", "Gemini 3 Pro"),
        ("claude-3-5-sonnet", "Claude 3.5"),
        ("qwen/qwen3-4b", "unknown"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert family_of(model).name == family
    assert UNKNOWN.name == "unknown"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {}, "patternProperties": {"x": {}}},
    ],
)
def test_schemas_that_cannot_be_strict(schema: dict[str, Any]) -> None:
    with pytest.raises(NotStrict):
        strict_schema(schema)


def test_strict_schema_keeps_the_meaning() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"enum": ["x"], "type": "string", "default": "x"},
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "c": {"const": 1},
            "d": {"type": ["string", "null"]},
        },
    }
    before = orjson.dumps(schema)
    strict = strict_schema(schema)
    assert orjson.dumps(schema) == before, "the schema given is left as it was"
    assert strict["properties"] == {
        "a": {"enum": ["x", None], "type": ["string", "null"]},
        "b": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "c": {"anyOf": [{"const": 1}, {"type": "null"}]},
        "d": {"type": ["string", "null"]},
    }
    assert strict["required"] == ["a", "b", "c", "d"]
    assert strict["additionalProperties"] is False
