"""What the Responses codec refuses, drops and adjusts. What it sends: the golden vectors."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from api_upstream import ask
from google.protobuf import json_format

from api_service.providers.capabilities import family_of
from api_service.providers.codec import Upstream
from api_service.providers.openai_responses import ResponsesCodec
from api_service.providers.table import OPENAI, ProviderRow
from marsys.v1 import ErrorReason, GenerateRequest, Message
from serving.errors import ServiceError
from serving.event_writer import EventWriter

IMAGE = {"media": {"mediaType": "image/png", "data": "iVBORw0KGgo="}}
SOUND = {"media": {"mediaType": "audio/wav", "data": "AAAA"}}
TOOL = {"name": "clock"}


def encoded(
    request: GenerateRequest, row: ProviderRow = OPENAI, stream: bool = False, **upstream: Any
) -> tuple[dict[str, Any], list[str]]:
    """The body, and the fields that were warned of."""
    writer = EventWriter()
    target = Upstream(row, request.model.removeprefix("openai/"), **upstream)
    wire = ResponsesCodec().encode(request, target, stream, writer)
    warned = [event.warning_raised.warning.field for event in writer.take()]
    body: dict[str, Any] = json.loads(wire.body)
    return body, warned


def refused(request: GenerateRequest, **options: Any) -> tuple[int, str]:
    """The reason of the error, and the field that it names."""
    with pytest.raises(ServiceError) as caught:
        encoded(request, **options)
    return caught.value.error.reason, caught.value.error.field


def history(*parts: Any, model: str = "openai/gpt-5", **fields: Any) -> GenerateRequest:
    """A request whose second message is an assistant's."""
    request = ask(model, **fields)
    message = {"role": "ROLE_ASSISTANT", "parts": list(parts)}
    request.messages.append(json_format.ParseDict(message, Message()))
    return request


def state(value: Any, issuer: str = "openai_responses") -> dict[str, Any]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"opaqueState": {"issuer": issuer, "data": base64.b64encode(data).decode()}}


def effort(word: str) -> dict[str, Any]:
    return {"reasoning": {"effort": f"REASONING_EFFORT_{word}"}}


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        ("gpt-5", {"config": {"temperature": 0.5}}, "config.temperature"),
        ("o3", {"config": {"topP": 0.5}}, "config.top_p"),
        ("gpt-4o", {"config": {"topK": 5}}, "config.top_k"),
        ("gpt-4o", {"config": {"seed": 5}}, "config.seed"),
        ("gpt-4o", {"config": {"stopSequences": ["."]}}, "config.stop_sequences"),
        ("gpt-4o", {"config": {"presencePenalty": 1}}, "config.presence_penalty"),
        ("gpt-4o", {"config": effort("LOW")}, "config.reasoning.effort"),
        ("gpt-5", {"config": effort("NONE")}, "config.reasoning.effort"),
        ("gpt-5", {"config": effort("XHIGH")}, "config.reasoning.effort"),
        ("gpt-5-pro", {"config": effort("LOW")}, "config.reasoning.effort"),
        ("gpt-5.1", {"config": effort("XHIGH")}, "config.reasoning.effort"),
        ("gpt-5.2", {"config": effort("MAX")}, "config.reasoning.effort"),
        ("gpt-5", {"config": {"reasoning": {"budgetTokens": 9}}}, "config.reasoning.budget_tokens"),
        ("gpt-5", {"outputFormat": {"regex": {"pattern": "a"}}}, "output_format.regex"),
        ("gpt-5", {"outputFormat": {"choice": {"choices": ["a"]}}}, "output_format.choice"),
        (
            "gpt-5",
            {"outputFormat": {"jsonSchema": {"schemaJson": '{"type":"array"}', "strict": True}}},
            "output_format.json_schema.strict",
        ),
        (
            "gpt-5",
            {"tools": [{"name": "f", "strict": True, "parametersJson": '{"type":"object"}'}]},
            "tools[0].strict",
        ),
        ("gpt-5.6", {"tools": [{"name": "f", "cacheBreakpoint": {}}]}, "tools[0].cache_breakpoint"),
    ],
)
def test_unsupported_parameters(model: str, fields: dict[str, Any], field: str) -> None:
    request = ask(f"openai/{model}", **fields)
    assert refused(request) == (ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER, field)
    request.on_unsupported = 2  # type: ignore[assignment]
    body, warned = encoded(request)
    assert field in warned
    assert "seed" not in body
    assert "stop" not in body


@pytest.mark.parametrize(
    ("parts", "model", "field"),
    [
        ([SOUND], "gpt-4o", "messages[0].parts[0].media"),
        ([{"text": {"text": "x"}, "cacheBreakpoint": {}}], "gpt-4o",
         "messages[0].parts[0].cache_breakpoint"),
    ],
)  # fmt: skip
def test_unsupported_content(parts: list[Any], model: str, field: str) -> None:
    request = ask(f"openai/{model}", messages=[{"role": "ROLE_USER", "parts": parts}])
    assert refused(request) == (ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER, field)


def test_names_of_speakers_are_refused() -> None:
    request = ask("openai/gpt-4o")
    request.messages[0].name = "Ada"
    assert refused(request)[1] == "messages[0].name"


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"reasoning": {}, **state(b"x")}, "opaque_state.data"),
        ({"reasoning": {}, **state({"type": "message"})}, "opaque_state.data"),
        ({"text": {"text": "x"}, **state([1])}, "opaque_state.data"),
        ({"text": {"text": "x"}, **state({"role": "system"})}, "opaque_state.data"),
        ({"toolCall": {"id": "c", "name": "f"}, **state({"name": "g"})}, "opaque_state.data"),
        ({**IMAGE, **state({"type": "image"})}, "opaque_state.data"),
        (
            {"provider": {"issuer": "anthropic_messages", "type": "x", "payloadJson": "{}"}},
            "provider.issuer",
        ),
        (
            {"provider": {"issuer": "openai_responses", "type": "x", "payloadJson": "[]"}},
            "provider.payload_json",
        ),
        (
            {"provider": {"issuer": "openai_responses", "type": "x", "payloadJson": "{"}},
            "provider.payload_json",
        ),
    ],
)
def test_content_that_is_wrong(part: dict[str, Any], field: str) -> None:
    reason = ErrorReason.ERROR_REASON_INVALID_REQUEST
    assert refused(history(part)) == (reason, f"messages[1].parts[0].{field}")


def test_images_of_others_do_not_go_back() -> None:
    reason = ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert refused(history(IMAGE)) == (reason, "messages[1].parts[0].media")


def test_a_cache_time_that_is_not_taken() -> None:
    part = {"text": {"text": "x"}, "cacheBreakpoint": {"ttl": "60s"}}
    request = ask("openai/gpt-5.6", messages=[{"role": "ROLE_USER", "parts": [part]}])
    field = "messages[0].parts[0].cache_breakpoint.ttl"
    assert refused(request) == (ErrorReason.ERROR_REASON_INVALID_REQUEST, field)


def test_stream_is_for_the_service_to_say() -> None:
    request = ask("openai/gpt-4o", providerOptionsJson={"stream": "true"})
    assert refused(request)[1] == 'provider_options_json["stream"]'


def test_defaults_yield_to_provider_options() -> None:
    options = {"temperature": "1", "max_output_tokens": "null", "store": "true"}
    body, _ = encoded(ask("openai/gpt-4o", providerOptionsJson=options))
    assert body["temperature"] == 1
    assert body["max_output_tokens"] is None
    assert body["store"] is True


def test_options_add_to_what_the_service_says() -> None:
    options = {
        "include": '["message.output_text.logprobs","reasoning.encrypted_content"]',
        "tools": '[{"type":"web_search"}]',
        "reasoning": '{"context":"auto"}',
    }
    request = ask("openai/gpt-5", tools=[TOOL], config=effort("LOW"), providerOptionsJson=options)
    body, _ = encoded(request)
    assert body["include"] == ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert [tool["type"] for tool in body["tools"]] == ["web_search", "function"]
    assert body["reasoning"] == {"effort": "low", "context": "auto"}


def test_options_of_another_kind_win_whole() -> None:
    options = {"tools": "null", "reasoning": "null", "text": '"x"', "include": "null"}
    request = ask(
        "openai/gpt-5",
        tools=[TOOL],
        config=effort("LOW"),
        outputFormat={"jsonObject": {}},
        providerOptionsJson=options,
    )
    body, _ = encoded(request)
    assert (body["tools"], body["reasoning"], body["text"]) == (None, None, "x")
    assert body["include"] is None


def test_what_a_model_was_seen_to_refuse_is_left_out() -> None:
    refusing = frozenset({"temperature", "max_tokens"})
    body, _ = encoded(ask("openai/gpt-4o"), refused=refusing)
    assert body.keys() == {"model", "input", "store"}
    body, _ = encoded(ask("openai/gpt-5"), refused=frozenset({"reasoning"}))
    assert "reasoning" not in body
    body, _ = encoded(ask("openai/gpt-5"), refused=frozenset({"reasoning.summary"}))
    assert body["reasoning"] == {"effort": "low"}


def test_a_row_without_limits_and_sampling_gets_none() -> None:
    """The backend of a subscription takes neither."""
    row = replace(OPENAI, fields={"prompt_cache_key": "prompt_cache_key"})
    body, _ = encoded(ask("openai/gpt-4o"), row=row)
    assert body.keys() == {"model", "input", "store"}
    request = ask("openai/gpt-4o", config={"maxTokens": 99})
    assert refused(request, row=row)[1] == "config.max_tokens"


def test_streams_are_asked_for() -> None:
    body, _ = encoded(ask("openai/gpt-4o"), stream=True)
    assert body["stream"] is True


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("gpt-5", "minimal low medium high"),
        ("gpt-5-mini-2025-08-07", "minimal low medium high"),
        ("gpt-5-pro", "high"),
        ("gpt-5.1", "none low medium high"),
        ("gpt-5.2", "none low medium high xhigh"),
        ("gpt-5.2-pro", "medium high xhigh"),
        ("gpt-5.6-sol", "none low medium high xhigh max"),
        ("gpt-6", "none low medium high xhigh max"),
        ("o4-mini", "low medium high"),
        ("gpt-5-chat-latest", ""),
        ("gpt-4.1", ""),
    ],
)
def test_efforts_of_families(model: str, efforts: str) -> None:
    assert family_of(model).efforts == set(efforts.split())


@pytest.mark.parametrize("model", ["gpt-5.1", "gpt-5.6", "gpt-5.2-mini"])
def test_sampling_where_nothing_is_reasoned(model: str) -> None:
    config = {"temperature": 0.5, "topP": 0.9}
    body, _ = encoded(ask(f"openai/{model}", config=config | effort("NONE")))
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert refused(ask(f"openai/{model}", config=config))[1] == "config.temperature"
    healed = frozenset({"temperature"})
    request = ask(f"openai/{model}", config=config | effort("NONE"))
    assert refused(request, refused=healed)[1] == "config.temperature"


def test_prompts_are_counted_by_the_provider() -> None:
    codec, target = ResponsesCodec(), Upstream(OPENAI, "gpt-5")
    request = ask("openai/gpt-5", tools=[TOOL], config={"maxTokens": 99})
    wire = codec.encode_count(request, target, EventWriter())
    body = json.loads(wire.body)
    assert wire.path == "/responses/input_tokens"
    assert body.keys() == {"model", "input", "tools", "reasoning"}
    assert codec.decode_count(target, b'{"object":"response.input_tokens","input_tokens":11}') == 11


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"input_tokens":-1}', b'{"input_tokens":"9"}']
)
def test_counts_that_can_not_be_read(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        ResponsesCodec().decode_count(Upstream(OPENAI, "gpt-5"), body)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE
