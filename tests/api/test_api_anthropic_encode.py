"""What the service adds to a request for Anthropic by itself never clashes with the caller's own.

What it sends otherwise: the golden vectors. What it refuses: test_api_anthropic_errors.py.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from api_anthropic_requests import clash_of
from api_golden import targets_of
from api_upstream import ask
from google.protobuf import json_format

from api_service.providers.anthropic import AnthropicCodec
from api_service.providers.anthropic_fences import FenceStripper
from api_service.providers.codec import Upstream
from api_service.providers.table import ANTHROPIC
from marsys.v1 import GenerateRequest
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

CALL = Call("id", "ipv4:127.0.0.1:1", None, False)
SONNET = "anthropic/claude-sonnet-4-5"
MODELS = [
    "claude-3-5-haiku-latest",
    "claude-3-7-sonnet-latest",
    "claude-opus-4-1",
    "claude-sonnet-4-5",
    "claude-opus-4-5",
    "claude-sonnet-4-6",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-of-tomorrow",
]
CHOICES: list[dict[str, Any]] = [
    {},
    {"toolChoice": {"mode": "TOOL_CHOICE_MODE_REQUIRED"}},
    {"toolChoice": {"toolName": "clock"}},
    {"toolChoice": {"mode": "TOOL_CHOICE_MODE_NONE"}},
]
USER = {"role": "ROLE_USER", "parts": [{"text": {"text": "Hi"}}]}
CALLED = {
    "role": "ROLE_ASSISTANT",
    "parts": [{"toolCall": {"id": "t", "name": "clock", "argumentsJson": "{}"}}],
}
RESULT = {
    "role": "ROLE_TOOL",
    "parts": [{"toolResult": {"toolCallId": "t", "content": [{"text": {"text": "Noon"}}]}}],
}
STATE = {"issuer": "anthropic_messages", "data": "QUJD"}
THOUGHT = {"reasoning": {"text": "Hm."}, "opaqueState": STATE}


def encoded(request: GenerateRequest) -> tuple[dict[str, Any], list[str]]:
    """The body, and the fields that were warned of."""
    validate(request)
    target = targets_of("anthropic_messages").resolve(request, CALL)
    writer = EventWriter()
    wire = target.codec.encode(request, target.upstream, False, writer)
    warned = [event.warning_raised.warning.field for event in writer.take()]
    body: dict[str, Any] = json.loads(wire.body)
    return body, warned


def conversation(model: str, turns: list[dict[str, Any]]) -> GenerateRequest:
    request = ask(model, tools=[{"name": "clock"}])
    del request.messages[:]
    request.MergeFrom(json_format.ParseDict({"messages": turns}, GenerateRequest()))
    return request


def options(**values: Any) -> dict[str, Any]:
    return {"providerOptionsJson": {name: json.dumps(value) for name, value in values.items()}}


@pytest.mark.parametrize("model", MODELS)
def test_defaults_fit_what_the_caller_sets(model: str) -> None:
    limits: list[dict[str, Any]] = [{}, {"maxTokens": 500}, {"maxTokens": 1024}]
    samplings: list[dict[str, Any]] = [{}, {"temperature": 0.2}, {"topP": 0.5}, {"topK": 4}]
    for choice, limit, sampling in itertools.product(CHOICES, limits, samplings):
        config = {"config": limit | sampling, "onUnsupported": "UNSUPPORTED_POLICY_WARN"}
        body, _ = encoded(ask(f"anthropic/{model}", tools=[{"name": "clock"}], **choice, **config))
        assert not clash_of(body), body


@pytest.mark.parametrize(
    "given",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "adaptive"}},
        {"temperature": 0.2},
        {"top_p": 0.5},
        {"top_k": 4},
        {"max_tokens": 500},
        {"tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "tool", "name": "clock"}},
        {"output_config": {"effort": "high"}},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-6"])
def test_defaults_fit_what_the_callers_options_say(model: str, given: dict[str, Any]) -> None:
    body, warned = encoded(ask(f"anthropic/{model}", tools=[{"name": "clock"}], **options(**given)))
    assert not clash_of(body), body
    assert given.items() <= body.items()
    assert not warned


def test_thinking_that_an_option_turns_off_leaves_the_temperature() -> None:
    body, _ = encoded(ask(SONNET, **options(thinking={"type": "disabled"})))
    assert body["temperature"] == 0.7


@pytest.mark.parametrize(
    ("turns", "thinks"),
    [
        ([USER], True),
        ([USER, CALLED, RESULT], False),
        ([USER, CALLED, RESULT, USER], False),
        ([USER, CALLED, RESULT, {**USER, "role": "ROLE_ASSISTANT"}, USER], True),
        ([USER, {**CALLED, "parts": [THOUGHT, *CALLED["parts"]]}, RESULT], True),
        ([USER, {**USER, "role": "ROLE_ASSISTANT"}], False),
    ],
)
def test_a_turn_that_began_without_thinking_goes_on_so(
    turns: list[dict[str, Any]], thinks: bool
) -> None:
    body, _ = encoded(conversation(SONNET, turns))
    assert ("thinking" in body) is thinks
    # As much as it finds fit, a model may always think.
    body, _ = encoded(conversation("anthropic/claude-opus-4-8", turns))
    assert body["thinking"]["type"] == "adaptive"


@pytest.mark.parametrize(
    ("model", "effort", "sent", "warned"),
    [
        ("claude-opus-4-5", "XHIGH", "high", True),
        ("claude-sonnet-4-6", "XHIGH", "high", True),
        ("claude-sonnet-4-6", "MAX", "max", False),
        ("claude-opus-4-7", "XHIGH", "xhigh", False),
        ("claude-opus-4-8", "MINIMAL", "low", True),
        ("claude-of-tomorrow", "MAX", "max", False),
    ],
)
def test_an_effort_that_is_not_taken_becomes_the_next_below(
    model: str, effort: str, sent: str, warned: bool
) -> None:
    config = {"config": {"reasoning": {"effort": f"REASONING_EFFORT_{effort}"}}}
    body, told = encoded(ask(f"anthropic/{model}", **config))
    assert body["output_config"]["effort"] == sent
    assert ("config.reasoning.effort" in told) is warned


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("", {"type": "object", "properties": {}}),
        ("{}", {"type": "object"}),
        ('{"properties":{"x":{}}}', {"type": "object", "properties": {"x": {}}}),
        ('{"type":"object","x-n":123456789012345678901}', None),
    ],
)
def test_parameters_of_tools_are_an_object(given: str, sent: dict[str, Any] | None) -> None:
    body, _ = encoded(ask(SONNET, tools=[{"name": "clock", "parametersJson": given}]))
    assert body["tools"][0]["input_schema"] == (sent or json.loads(given))


def test_parameters_of_another_type_are_refused() -> None:
    with pytest.raises(ServiceError) as caught:
        encoded(ask(SONNET, tools=[{"name": "clock", "parametersJson": '{"type":"array"}'}]))
    assert caught.value.error.field == "tools[0].parameters_json"


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-3-5-haiku-latest"])
def test_a_schema_that_need_not_be_enforced_is_told(model: str) -> None:
    schema = '{"type":"object","additionalProperties":{"type":"string"}}'
    form = {"jsonSchema": {"schemaJson": schema, "strict": False}}
    body, warned = encoded(ask(f"anthropic/{model}", outputFormat=form))
    assert schema in body["system"]
    assert "output_config" not in body
    assert warned == ["output_format.json_schema"]


HUGE = 123456789012345678901234567890


def test_options_and_arguments_go_as_given() -> None:
    """Numbers beyond 64 bits, and halves of characters, which JSON can name."""
    given = json.dumps([{"type": "box", "name": "\ud800", "size": HUGE}])
    request = conversation(SONNET, [USER, CALLED, RESULT])
    request.provider_options_json["tools"] = given
    request.provider_options_json["output_config"] = json.dumps({"task": HUGE})
    request.messages[1].parts[0].tool_call.arguments_json = json.dumps({"n": HUGE})
    body, warned = encoded(request)
    assert body["tools"][0] == json.loads(given)[0]
    assert body["output_config"]["task"] == HUGE
    assert body["messages"][1]["content"][0]["input"] == {"n": HUGE}
    assert not warned
    request.messages[1].parts[0].tool_call.arguments_json = '{"half":"a\\ud800"}'
    body, warned = encoded(request)
    assert body["messages"][1]["content"][0]["input"] == {"half": "a\ufffd"}
    request.messages[1].parts[0].tool_call.arguments_json = "[1]"
    body, warned = encoded(request)
    assert body["messages"][1]["content"][0]["input"] == {}
    assert warned == ["messages[1].parts[0].tool_call.arguments_json"]


def test_a_cache_mark_of_a_part_that_is_not_sent_is_told() -> None:
    request = ask(SONNET)
    blank = request.messages[0].parts.add()
    blank.text.text = " "
    blank.cache_breakpoint.SetInParent()
    body, warned = encoded(request)
    assert warned == ["messages[0].parts[1].cache_breakpoint"]
    assert len(body["messages"][0]["content"]) == 1


def test_betas_of_the_row_and_of_the_caller_are_asked_for() -> None:
    upstream = Upstream(replace(ANTHROPIC, betas=("login-2025-04-20",)), "claude-sonnet-4-5")
    request = ask(SONNET, **options(betas=["context-1m-2025-08-07", "login-2025-04-20"]))
    for wire in (
        AnthropicCodec().encode(request, upstream, False, EventWriter()),
        AnthropicCodec().encode_count(request, upstream, EventWriter()),
    ):
        assert wire.headers["anthropic-beta"] == "login-2025-04-20,context-1m-2025-08-07"
        assert "betas" not in json.loads(wire.body)


def test_tokens_are_counted_of_all_that_is_counted() -> None:
    upstream = Upstream(ANTHROPIC, "claude-sonnet-4-5")
    servers = [{"type": "url", "name": "docs", "url": "https://mcp.example.com"}]
    request = ask(SONNET, **options(mcp_servers=servers, service_tier="auto"))
    wire = AnthropicCodec().encode_count(request, upstream, EventWriter())
    body = json.loads(wire.body)
    assert wire.path == "/messages/count_tokens"
    assert body["mcp_servers"] == servers
    assert not body.keys() & {"max_tokens", "temperature", "service_tier", "stream"}


def test_models() -> None:
    entry = {
        "type": "model",
        "id": "claude-opus-5",
        "lifecycle": "active",
        "max_input_tokens": 1000000,
        "max_tokens": 128000,
        "capabilities": {
            "structured_outputs": {"supported": True},
            "thinking": {"supported": True, "types": {}},
            "image_input": {"supported": True},
            "pdf_input": {"supported": False},
        },
    }
    others = [{"id": "claude-old", "lifecycle": "retired"}, {"id": "claude-new"}, {"id": 5}, 7]
    body = json.dumps({"data": [entry, *others], "has_more": False}).encode()
    full, bare = AnthropicCodec().decode_models(Upstream(ANTHROPIC, ""), body)
    assert (full.name, bare.name) == ("anthropic/claude-opus-5", "anthropic/claude-new")
    assert (full.context_length, full.max_output_tokens) == (1000000, 128000)
    assert full.capabilities.structured_output
    assert full.capabilities.reasoning
    assert full.capabilities.input_modalities == ["image"]
    assert not bare.HasField("context_length")
    assert not bare.capabilities.HasField("reasoning")


@pytest.mark.parametrize("opening", ["```json\n", ""])
@pytest.mark.parametrize("size", [10, 100_000])
def test_white_space_in_a_text_is_no_fence(opening: str, size: int) -> None:
    """However much there is: it is looked at once."""
    text = "{" + " " * size + "}"
    stripper = FenceStripper()
    found = stripper.feed(opening) + stripper.feed(text[:-1]) + stripper.feed(text[-1])
    found += stripper.feed("\n```" if opening else "") + stripper.end()
    assert found == text
