"""Keyword arguments, configurations and what of them goes to the service."""

from __future__ import annotations

import inspect
import json
import math

import pytest
from client_scripted import text
from pydantic import ValidationError

from marsys.agents.exceptions import ModelAPIError, ModelConfigurationError
from marsys.models import BaseAPIModel, BaseLocalModel, ModelConfig, create_model
from marsys.v1 import (
    GenerateRequest,
    GenerationConfig,
    ProviderTarget,
    ReasoningEffort,
    ToolChoiceMode,
    UnsupportedPolicy,
)

HELLO = [{"role": "user", "content": "Hello!"}]
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}}


@pytest.fixture
def sent(service):
    """The request that a call sends."""

    def send(*, model=None, **arguments) -> GenerateRequest:
        service.say(text("ok"))
        model = model or BaseAPIModel("p", "m", max_tokens=None, target=service.address)
        model.run(HELLO, **arguments)
        return service.requests[-1]

    return send


def test_only_what_is_set_is_sent(sent):
    request = sent(temperature=None, tools=None, json_mode=False, n=1, stop=None)
    assert {descriptor.name for descriptor, _ in request.ListFields()} == {
        "model",
        "messages",
        "target",
    }
    assert request.target == ProviderTarget(provider="p")


def test_every_knob(sent):
    request = sent(
        max_tokens=5,
        temperature=0,
        top_p=1.0,
        top_k=4,
        min_p=0.1,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        repetition_penalty=1.1,
        seed=7,
        stop="END",
        thinking_budget=0,
        reasoning_effort="high",
        prompt_cache_key="k",
        on_unsupported="warn",
    )
    wanted = GenerationConfig(
        max_tokens=5,
        temperature=0,
        top_p=1.0,
        top_k=4,
        min_p=0.1,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        repetition_penalty=1.1,
        seed=7,
        stop_sequences=["END"],
        prompt_cache_key="k",
    )
    wanted.reasoning.budget_tokens = 0
    wanted.reasoning.effort = ReasoningEffort.REASONING_EFFORT_HIGH
    assert request.config == wanted
    assert request.on_unsupported == UnsupportedPolicy.UNSUPPORTED_POLICY_WARN


def test_what_only_the_service_can_judge_goes_there(sent):
    request = sent(temperature=math.nan, top_p=7, max_tokens=-3)
    assert math.isnan(request.config.temperature)
    assert (request.config.top_p, request.config.max_tokens) == (7, -3)


def test_a_calls_arguments_win_over_the_models(service, sent):
    model = BaseAPIModel("p", "m", target=service.address, temperature=0.7, top_k=3)
    request = sent(model=model, temperature=0.1, top_k=None)
    assert request.config.max_tokens == 1024
    assert request.config.temperature == 0.1
    assert request.config.top_k == 3


def test_unknown_arguments_are_the_providers(sent):
    request = sent(logit_bias={"5": 1}, user="ann")
    assert dict(request.provider_options_json) == {"logit_bias": '{"5": 1}', "user": '"ann"'}


def test_unknown_arguments_of_local_models_are_errors(service, local_model):
    with pytest.raises(ModelAPIError) as caught:
        local_model.run(HELLO, temprature=1)
    assert caught.value.field == "temprature"
    with pytest.raises(ModelConfigurationError) as caught:
        BaseLocalModel("tiny", target=service.address, temprature=1)
    assert caught.value.field == "temprature"
    assert service.requests == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "w", "description": "d", "parameters": SCHEMA}},
        {"type": "function", "name": "w", "description": "d", "parameters": SCHEMA},
        {"name": "w", "description": "d", "input_schema": SCHEMA},
    ],
    ids=["openai", "flat", "anthropic"],
)
def test_tools(sent, tool):
    (definition,) = sent(tools=[tool]).tools
    assert (definition.name, definition.description) == ("w", "d")
    assert json.loads(definition.parameters_json) == SCHEMA
    assert not definition.HasField("strict")


MODES = ToolChoiceMode
TOOL = {"name": "w", "input_schema": SCHEMA}


@pytest.mark.parametrize(
    ("choice", "mode", "name"),
    [
        ("auto", MODES.TOOL_CHOICE_MODE_AUTO, ""),
        ("none", MODES.TOOL_CHOICE_MODE_NONE, ""),
        ("required", MODES.TOOL_CHOICE_MODE_REQUIRED, ""),
        ("any", MODES.TOOL_CHOICE_MODE_REQUIRED, ""),
        ({"type": "any"}, MODES.TOOL_CHOICE_MODE_REQUIRED, ""),
        ("w", 0, "w"),
        ({"type": "function", "function": {"name": "w"}}, 0, "w"),
        ({"type": "tool", "name": "w"}, 0, "w"),
    ],
)
def test_tool_choice(sent, choice, mode, name):
    sent_choice = sent(tools=[TOOL], tool_choice=choice).tool_choice
    assert (sent_choice.mode, sent_choice.tool_name) == (mode, name)


def test_parallel_tool_calls(sent):
    choice = sent(tools=[TOOL], parallel_tool_calls=False).tool_choice
    assert choice.mode == MODES.TOOL_CHOICE_MODE_AUTO
    assert choice.allow_parallel_calls is False


def test_a_choice_without_tools_says_nothing_where_it_means_nothing(sent):
    assert not sent(tool_choice="auto").HasField("tool_choice")
    assert sent(tool_choice="required").HasField("tool_choice")


def test_forms_of_output(sent):
    assert sent(json_mode=True).output_format.HasField("json_object")
    form = sent(json_mode=True, response_schema=SCHEMA).output_format
    assert json.loads(form.json_schema.schema_json) == SCHEMA
    envelope = {"name": "n", "schema": SCHEMA, "strict": False}
    form = sent(response_format={"type": "json_schema", "json_schema": envelope}).output_format
    assert json.loads(form.json_schema.schema_json) == SCHEMA
    assert form.json_schema.name == "n"
    assert form.json_schema.strict is False


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"seed": 1 << 70}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"n": 2}, "n"),
        ({"on_unsupported": "panic"}, "on_unsupported"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"name": "x", "parameters": {"a": object()}}]}, "tools[0].parameters"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"response_schema": "x"}, "response_schema"),
        ({"response_format": "json"}, "response_format"),
        ({"images": ["/nowhere.png"]}, "images[0]"),
        ({"odd": object()}, "odd"),
    ],
)
def test_wrong_arguments_name_themselves(service, api_model, arguments, field):
    with pytest.raises(ModelAPIError) as caught:
        api_model.run(HELLO, **arguments)
    assert caught.value.field == field
    assert caught.value.classification == "invalid_request"
    assert service.requests == []


@pytest.mark.parametrize("how", ["run", "stream"])
def test_a_request_that_is_too_large_is_not_sent(service, api_model, how):
    service.say(text("ok"))
    big = {"role": "user", "content": [{"type": "text", "text": "x" * (64 << 20)}]}
    with pytest.raises(ModelAPIError) as caught:
        getattr(api_model, how)([*HELLO, big])
    assert caught.value.classification == "request_too_large"
    assert caught.value.field == "messages[1].parts[0].text"
    assert service.requests == []


def test_a_file_that_is_too_large_is_not_even_read(service, api_model, tmp_path):
    place = tmp_path / "big.png"
    with place.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ModelAPIError) as caught:
        api_model.run(HELLO, images=[str(place)])
    assert caught.value.classification == "request_too_large"


def test_large_messages_go_both_ways(service, api_model):
    service.say(text("y" * (20 << 20)), whole=True)
    assert len(api_model.run("x" * (20 << 20))["content"]) == 20 << 20


# Keys


def test_the_key_of_the_environment(sent, monkeypatch, service):
    monkeypatch.setenv("OPENROUTER_API_KEY", "from-env")
    model = BaseAPIModel("openrouter", "m", target=service.address)
    assert sent(model=model).target.api_key == "from-env"
    monkeypatch.setenv("OPENROUTER_API_KEY", "newer")
    assert sent(model=model).target.api_key == "newer"
    model = BaseAPIModel(model_name="openrouter/m", target=service.address)
    assert sent(model=model).target == ProviderTarget(api_key="newer")
    model = BaseAPIModel("openrouter", "m", "given", target=service.address)
    assert sent(model=model).target.api_key == "given"


def test_a_custom_endpoint_gets_no_key_of_the_environment(sent, monkeypatch, service):
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    model = BaseAPIModel(
        model_name="openai/x", base_url="https://h.example/v1", target=service.address
    )
    assert sent(model=model).target == ProviderTarget(base_url="https://h.example/v1")


def test_googles_second_variable(sent, monkeypatch, service):
    monkeypatch.setenv("GEMINI_API_KEY", "g")
    model = BaseAPIModel("google", "gemini", target=service.address)
    assert sent(model=model).target.api_key == "g"


# Configurations


def test_a_config_sends_what_it_sets(sent, service):
    config = ModelConfig(
        type="api",
        provider="openrouter",
        name="anthropic/claude-opus-4.6",
        temperature=0.5,
        parameters={"custom_param": "value", "top_k": 3},
    )
    request = sent(model=create_model(config, target=service.address))
    assert request.model == "anthropic/claude-opus-4.6"
    assert request.target.provider == "openrouter"
    assert request.config == GenerationConfig(temperature=0.5, top_k=3)
    assert dict(request.provider_options_json) == {"custom_param": '"value"'}


def test_a_local_config(sent, service):
    config = ModelConfig(type="local", name="tiny", model_class="llm", max_tokens=77)
    model = create_model(config, target=service.address)
    assert isinstance(model, BaseLocalModel)
    request = sent(model=model)
    assert request.config == GenerationConfig(max_tokens=77)
    assert not request.HasField("target")


def test_configs_warn_unless_they_say_otherwise(sent, service):
    for kind in ({"type": "api", "provider": "openai"}, {"type": "local", "model_class": "llm"}):
        config = ModelConfig(name="m", **kind)
        request = sent(model=create_model(config, target=service.address))
        assert request.on_unsupported == UnsupportedPolicy.UNSUPPORTED_POLICY_WARN
        strict = config.model_copy(update={"parameters": {"on_unsupported": "reject"}})
        request = sent(model=create_model(strict, target=service.address))
        assert request.on_unsupported == UnsupportedPolicy.UNSUPPORTED_POLICY_REJECT


def test_a_config_of_the_other_type():
    local = ModelConfig(type="local", name="tiny", model_class="llm")
    with pytest.raises(ModelConfigurationError, match="BaseLocalModel"):
        BaseAPIModel.from_config(local)
    remote = ModelConfig(type="api", name="x", provider="xai")
    with pytest.raises(ModelConfigurationError, match="BaseAPIModel"):
        BaseLocalModel.from_config(remote)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "api", "name": "x"},
        {"type": "api", "name": "x", "provider": "unheard-of"},
        {"type": "local", "name": "x"},
        {"type": "api", "name": "x", "provider": "xai", "temperature": 3},
        {"type": "api", "name": "x", "provider": "xai", "top_p": 5},
        {"type": "api", "name": "x", "provider": "xai", "max_token": 5},
        {"type": "api", "name": "", "provider": "xai"},
        {"type": "other", "name": "x"},
    ],
)
def test_wrong_configs(fields):
    with pytest.raises(ValidationError) as caught:
        ModelConfig(**fields, api_key="canary-key")
    assert "canary" not in str(caught.value)


def test_an_unknown_provider_with_a_base_url():
    ModelConfig(type="api", name="x", provider="mine", base_url="https://h.example/v1")


def test_a_key_is_not_shown():
    config = ModelConfig(type="api", name="x", provider="xai", api_key="canary-key")
    model = BaseAPIModel("xai", "x", "canary-key", token="canary-token")
    assert "canary" not in f"{config} {config!r} {model!r}"


def test_signatures_of_the_reference_page():
    api = list(inspect.signature(BaseAPIModel).parameters)
    assert api[:5] == ["provider", "model_name", "api_key", "base_url", "max_tokens"]
    local = inspect.signature(BaseLocalModel).parameters
    assert list(local)[:5] == [
        "model_name",
        "model_class",
        "backend",
        "max_tokens",
        "thinking_budget",
    ]
    assert [local[name].default for name in list(local)[1:5]] == ["llm", "huggingface", 1024, None]


def test_a_model_needs_a_name():
    with pytest.raises(ModelConfigurationError, match="model_name"):
        BaseAPIModel("openai")
