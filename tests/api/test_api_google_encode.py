"""What the Google codec refuses, and how it finds its key. What it sends: the golden vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_golden import numbered
from api_upstream import ask

from api_service.providers.capabilities import family_of
from api_service.providers.codec import Upstream
from api_service.providers.google import GoogleCodec
from api_service.providers.google_schema import NotConvertible, google_schema
from api_service.providers.table import GOOGLE, PROVIDERS
from api_service.settings import ApiSettings
from api_service.target import Targets
from marsys.v1 import ErrorReason, GenerateRequest
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call

CALL = Call("id", "ipv4:127.0.0.1:1", None, False)
TOOL = {"name": "clock"}
IMAGE = {"media": {"mediaType": "image/png", "data": "iVBORw0KGgo="}}
DEFAULTS = {"maxOutputTokens": 8192, "temperature": 0.7}


def encoded(request: GenerateRequest, **upstream: Any) -> tuple[dict[str, Any], list[str]]:
    """The body, and the fields that were warned of."""
    writer = EventWriter()
    target = Upstream(GOOGLE, request.model.removeprefix("google/"), **upstream)
    wire = GoogleCodec().encode(request, target, False, writer)
    warned = [event.warning_raised.warning.field for event in numbered(writer.take())]
    body: dict[str, Any] = json.loads(wire.body)
    return body, warned


def refused(request: GenerateRequest) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        encoded(request)
    return caught.value


def history(*parts: dict[str, Any], results: list[dict[str, Any]] | None = None) -> Any:
    messages = [
        {"role": "ROLE_USER", "parts": [{"text": {"text": "Hi"}}]},
        {"role": "ROLE_ASSISTANT", "parts": list(parts)},
    ]
    if results:
        messages.append({"role": "ROLE_TOOL", "parts": results})
    request = ask("google/gemini-2.5-flash")
    del request.messages[:]
    for message in messages:
        from_json = ask("m", messages=[message])
        request.messages.append(from_json.messages[0])
    return request


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        ("gemini-2.5-flash", {"config": {"minP": 0.1}}, "config.min_p"),
        ("gemini-2.5-flash", {"config": {"promptCacheKey": "k"}}, "config.prompt_cache_key"),
        ("gemini-2.5-flash", {"config": {"seed": "99999999999"}}, "config.seed"),
        (
            "gemini-2.5-flash",
            {"config": {"stopSequences": list("abcdef")}},
            "config.stop_sequences",
        ),
        (
            "gemini-2.5-pro",
            {"config": {"reasoning": {"budgetTokens": 0}}},
            "config.reasoning.budget_tokens",
        ),
        (
            "gemini-2.5-pro",
            {"config": {"reasoning": {"effort": "REASONING_EFFORT_NONE"}}},
            "config.reasoning.effort",
        ),
        (
            "gemini-3-pro-preview",
            {"config": {"reasoning": {"effort": "REASONING_EFFORT_NONE"}}},
            "config.reasoning.effort",
        ),
        (
            "gemini-3-pro-preview",
            {"config": {"reasoning": {"budgetTokens": 0}}},
            "config.reasoning.budget_tokens",
        ),
        (
            "gemini-3-pro-preview",
            {"config": {"reasoning": {"effort": "REASONING_EFFORT_XHIGH"}}},
            "config.reasoning.effort",
        ),
        (
            "gemini-2.0-flash",
            {"config": {"reasoning": {"effort": "REASONING_EFFORT_LOW"}}},
            "config.reasoning.effort",
        ),
        (
            "gemini-2.5-flash-image",
            {"config": {"reasoning": {"budgetTokens": 100}}},
            "config.reasoning.budget_tokens",
        ),
        (
            "gemini-2.5-flash",
            {"tools": [TOOL], "outputFormat": {"jsonObject": {}}},
            "output_format.json_object",
        ),
        (
            "gemini-2.5-flash",
            {"outputFormat": {"choice": {"choices": ["a"]}}},
            "output_format.choice",
        ),
        (
            "gemini-2.5-flash",
            {"tools": [TOOL], "toolChoice": {"allowParallelCalls": False}},
            "tool_choice.allow_parallel_calls",
        ),
        (
            "gemini-2.5-flash",
            {"tools": [{**TOOL, "cacheBreakpoint": {}}]},
            "tools[0].cache_breakpoint",
        ),
    ],
)
def test_what_google_does_not_take(model: str, fields: dict[str, Any], field: str) -> None:
    error = refused(ask(f"google/{model}", **fields)).error
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert error.field == field
    body, warned = encoded(
        ask(f"google/{model}", **fields, onUnsupported="UNSUPPORTED_POLICY_WARN")
    )
    assert warned == [field]
    config = body["generationConfig"]
    assert config.pop("thinkingConfig", None) is None or "reasoning" not in field
    assert config == DEFAULTS


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("gemini-1.5-flash", None),
        ("gemini-2.0-flash", None),
        ("gemini-2.5-flash-image", None),
        ("gemini-2.5-flash-preview-tts", None),
        ("gemini-2.5-flash", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash-lite", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-3-flash-preview", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3-pro-image-preview", None),
        ("gemini-flash-latest", None),
        ("gemma-3-27b-it", None),
    ],
)
def test_default_reasoning(model: str, config: dict[str, Any] | None) -> None:
    body, warned = encoded(ask(f"google/{model}"))
    assert body["generationConfig"].get("thinkingConfig") == config
    assert not warned


@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemini-1.5-pro"])
def test_models_that_never_reason_can_be_told_not_to(model: str) -> None:
    for wanted in ({"effort": "REASONING_EFFORT_NONE"}, {"budgetTokens": 0}):
        body, _ = encoded(ask(f"google/{model}", config={"reasoning": wanted}))
        assert "thinkingConfig" not in body["generationConfig"]


def test_a_large_budget_is_not_cut_by_the_default_limit() -> None:
    request = ask("google/gemini-2.5-pro", config={"reasoning": {"budgetTokens": 20000}})
    body, _ = encoded(request)
    assert "maxOutputTokens" not in body["generationConfig"]


def test_what_a_model_was_seen_to_refuse_is_left_out() -> None:
    body, _ = encoded(
        ask("google/gemini-2.5-flash"), refused=frozenset({"temperature", "reasoning"})
    )
    assert body["generationConfig"] == {"maxOutputTokens": 8192}


def test_media_in_tool_results_need_gemini_3() -> None:
    call = {"toolCall": {"id": "a", "name": "draw", "argumentsJson": "{}"}}
    request = history(call, results=[{"toolResult": {"toolCallId": "a", "content": [IMAGE]}}])
    error = refused(request).error
    assert error.field == "messages[2].parts[0].tool_result.content[0].media"


def test_result_of_an_unknown_call_needs_a_name() -> None:
    result = {"toolResult": {"toolCallId": "gone"}}
    error = refused(history({"text": {"text": "x"}}, results=[result])).error
    assert error.field == "messages[2].parts[0].tool_result.name"
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST


@pytest.mark.parametrize(
    ("block", "field"),
    [
        ({"issuer": "anthropic_messages", "type": "x", "payloadJson": "{}"}, "issuer"),
        ({"issuer": "google_generate_content", "type": "x", "payloadJson": "{"}, "payload_json"),
        ({"issuer": "google_generate_content", "type": "x", "payloadJson": "[]"}, "payload_json"),
    ],
)
def test_blocks_that_can_not_be_replayed(block: dict[str, str], field: str) -> None:
    error = refused(history({"provider": block})).error
    assert error.field == f"messages[1].parts[0].provider.{field}"
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST


def test_state_that_is_no_text_is_refused() -> None:
    state = {"issuer": "google_generate_content", "data": "//8="}
    error = refused(history({"text": {"text": "x"}, "opaqueState": state})).error
    assert error.field == "messages[1].parts[0].opaque_state.data"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("google/models/gemini-2.5-flash", "/models/gemini-2.5-flash:generateContent"),
        ("google/tunedModels/x", "/tunedModels/x:generateContent"),
        ("google/a/../b?c#d", "/models/a%2F..%2Fb%3Fc%23d:generateContent"),
        ("google/..", "/models/..:generateContent"),
    ],
)
def test_address(model: str, path: str) -> None:
    targets = Targets(ApiSettings(), {"GOOGLE_API_KEY": "k"}, PROVIDERS)
    target = targets.resolve(ask(model), CALL)
    wire = target.codec.encode(ask(model), target.upstream, False, EventWriter())
    assert wire.path == path


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"GOOGLE_API_KEY": "a", "GEMINI_API_KEY": "b"}, "a"),
        ({"GEMINI_API_KEY": "b"}, "b"),
        ({"GOOGLE_API_KEY": " ", "GEMINI_API_KEY": "b"}, "b"),
    ],
)
def test_key(environ: dict[str, str], key: str) -> None:
    target = Targets(ApiSettings(), environ, PROVIDERS).resolve(ask("google/x"), CALL)
    assert target.headers["x-goog-api-key"] == key


def test_missing_key_names_its_variable() -> None:
    with pytest.raises(ServiceError) as caught:
        Targets(ApiSettings(), {}, PROVIDERS).resolve(ask("google/x"), CALL)
    assert "GOOGLE_API_KEY" in caught.value.error.message


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object"}, "names no properties"),
        ({"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}]}}}, "oneOf"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "uuid"}}}, "uuid"),
        ({"type": "object", "properties": {"a": {"enum": [1, "a"]}}}, "several types"),
        (
            {"type": "object", "properties": {"a": {"type": "boolean", "enum": [True]}}},
            "neither text",
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "is not in it"),
        ({"type": "object", "properties": {"a": {"$ref": "http://x"}}}, "another document"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, "contains itself"),
        ({"type": "object", "properties": {"a": {"type": ["string", "integer"]}}}, "several types"),
        ({"type": "object", "properties": {"a": False}}, "allows nothing"),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "does not name"),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/l0"}},
                "$defs": {
                    f"l{level}": {"anyOf": [{"$ref": f"#/$defs/l{level + 1}"}] * 4}
                    for level in range(12)
                }
                | {"l12": {"type": "string"}},
            },
            "too large",
        ),
    ],
)
def test_schemas_that_google_has_no_form_for(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(NotConvertible, match=why):
        google_schema(schema)
    form = {"jsonSchema": {"schemaJson": json.dumps(schema)}}
    body, warned = encoded(ask("google/gemini-2.5-flash", outputFormat=form))
    assert body["generationConfig"]["responseJsonSchema"] == schema
    assert "responseSchema" not in body["generationConfig"]
    assert warned[0] == "output_format.json_schema.schema_json"


def test_families_are_known() -> None:
    assert family_of("gemini-2.5-flash-lite-preview").budget_range == (512, 24576)
    assert family_of("google/gemini-3.5-flash").signed_calls
    assert not family_of("gemini-2.0-flash").reasons
