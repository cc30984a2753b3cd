"""The page's examples of remote models, as they stand, against api_service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from oauth_fake import OAuthFake
from page_providers import SEARCH, STORY, WEATHER, PageProviders
from reference_page import Example, Page

from marsys.models import BaseAPIModel, BaseLocalModel, ModelConfig, create_model

pytestmark = pytest.mark.usefixtures("remote")

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def model() -> BaseAPIModel:
    return BaseAPIModel(provider="openrouter", model_name="anthropic/claude-opus-4.6")


@pytest.mark.example("ModelConfig / Usage Examples#1")
def test_configurations_make_models_that_answer(
    example: Example, providers: PageProviders, way: str
) -> None:
    names = example.run(way)
    for config in (names["gpt5_config"], names["claude_config"]):
        response = create_model(config).run(MESSAGES)
        assert response["content"]
        asked = providers.asked[-1]
        assert asked.model == config.name
        assert asked.body["max_tokens"] == config.max_tokens
        # GPT-5 Codex has no temperature; what can't be honoured is told.
        left_out = [warning["field"] for warning in response["metadata"]["warnings"]]
        if config is names["gpt5_config"]:
            assert left_out == ["config.temperature"]
            assert "temperature" not in asked.body
        else:
            assert left_out == []
            assert asked.body["temperature"] == config.temperature
    for config in (names["llm_config"], names["vlm_config"]):
        model = create_model(config)
        assert isinstance(model, BaseLocalModel)
        assert (model.model_class, model.backend) == (config.model_class, config.backend)
        assert model.max_tokens == config.max_tokens


@pytest.mark.example("ModelConfig / Usage Examples#1")
def test_a_custom_endpoint_gets_its_key_and_parameters(
    example: Example, providers: PageProviders
) -> None:
    config = example.run()["custom_config"]
    assert config.base_url == "https://api.mycompany.com/v1"
    here = config.model_copy(update={"base_url": providers.base_url("custom")})
    assert create_model(here).run(MESSAGES)["content"] == "Hello from here."
    (asked,) = providers.asked
    assert asked.headers["Authorization"] == "Bearer custom-key"
    assert asked.body["custom_param"] == "value"
    assert asked.model == "custom-model"


@pytest.mark.example("ModelConfig / OAuth Providers#1")
def test_subscriptions_need_no_keys(example: Example, logins: OAuthFake, way: str) -> None:
    names = example.run(way, ModelConfig=ModelConfig)
    for config in (names["openai_oauth"], names["anthropic_oauth"]):
        before = logins.calls
        assert config.api_key is None
        assert create_model(config).run(MESSAGES)["content"]
        assert logins.calls == before + 1


@pytest.mark.example("ModelConfig / OAuth Providers#1")
def test_profile_then_default_profile_then_file(
    example: Example, logins: OAuthFake, service_home: Path, api_address: str
) -> None:
    """The page's order of resolution, with the command that it names."""
    config = example.run(ModelConfig=ModelConfig)["anthropic_oauth"]
    bare = config.model_copy(update={"credentials_path": None})

    def oauth(*arguments: str) -> None:
        command = [sys.executable, "-m", "marsys.cli", "oauth", *arguments]
        subprocess.run([*command, "--target", api_address], check=True, capture_output=True)

    def token_of(**changes: Any) -> str:
        create_model(bare.model_copy(update=changes)).run(MESSAGES)
        return logins.seen[-1][1]["Authorization"].removeprefix("Bearer ")

    usual = token_of()
    files = {}
    for name in ("work", "home"):
        path = service_home / ".claude" / f"{name}.json"
        logins.claude_login(path)
        files[name] = json.loads(path.read_text())["claudeAiOauth"]["accessToken"]
        oauth("add", name, "--provider", "anthropic-oauth", "--credentials-path", str(path))
    oauth("set-default", "anthropic-oauth", "work")
    try:
        assert token_of() == files["work"]
        assert token_of(oauth_profile="home") == files["home"]
        path = str(service_home / ".claude" / ".credentials.json")
        assert token_of(oauth_profile="home", credentials_path=path) == usual
    finally:
        oauth("remove", "work", "--force")
        oauth("remove", "home", "--force")


@pytest.mark.example("Model Classes / BaseAPIModel / Methods / run#1")
def test_tools_are_called(
    example: Example, providers: PageProviders, capsys: pytest.CaptureFixture[str]
) -> None:
    example.run()
    name, arguments = WEATHER
    assert capsys.readouterr().out == f"Tool: {name}\nArgs: {json.dumps(arguments)}\n"
    (asked,) = providers.asked
    assert asked.body["temperature"] == 0.7
    assert asked.body["max_tokens"] == 12000
    assert asked.body["tools"][0]["function"]["parameters"]["required"] == ["location"]


@pytest.mark.example("Model Factory / Model Creation#1")
def test_model_from_configuration(example: Example, providers: PageProviders) -> None:
    response = example.run()["response"]
    assert response["content"] == response.content == "Hello from here."
    assert providers.asked[0].body["max_tokens"] == 12000


@pytest.mark.example("Advanced Features / Tool Calling#1")
@pytest.mark.parametrize("choice", ["auto", "none", "search_web"])
def test_results_of_tools_go_back(
    example: Example, providers: PageProviders, model: BaseAPIModel, choice: str
) -> None:
    chosen = Example(
        example.name,
        example.code.replace('tool_choice="auto"', f'tool_choice="{choice}"'),
        example.line,
        example.page,
    )
    searched = []

    def search_web(query: str, most: int) -> list[str]:
        searched.append((query, most))
        return ["Curiosity", "Perseverance"]

    question = {"role": "user", "content": "Find information about Mars rovers"}
    messages: list[Any] = [question]
    names = chosen.run(model=model, json=json, search_web=search_web, messages=messages)
    assert searched == [(SEARCH[1]["query"], 5)]
    wanted: Any = {"type": "function", "function": {"name": choice}}
    sent = providers.asked[0].body
    assert sent.get("tool_choice", "auto") == (wanted if choice == SEARCH[0] else choice)
    # The page appends the result; with the call before it, the conversation goes on.
    messages.insert(1, names["response"])
    assert model.run(messages, tools=names["tools"])["content"] == "Hello from here."
    _, call, result = providers.asked[1].body["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert json.loads(result["content"]) == ["Curiosity", "Perseverance"]


@pytest.mark.example("Advanced Features / JSON Mode#1")
def test_json_mode(
    example: Example,
    providers: PageProviders,
    model: BaseAPIModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example.run(model=model, json=json)
    assert capsys.readouterr().out == "Answer: 4 (Confidence: 0.9)\n"
    assert providers.asked[0].body["response_format"] == {"type": "json_object"}


@pytest.mark.example("Advanced Features / Structured Output#1")
@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "gpt-5-codex"),
        ("openrouter", "openai/gpt-5-codex"),
        ("google", "gemini-3-pro-preview"),
        ("anthropic", "claude-opus-4.6"),
        ("xai", "grok-4"),
        ("openai-oauth", "gpt-5.3-codex"),
        ("anthropic-oauth", "claude-opus-4-6"),
    ],
)
def test_schemas_are_native_everywhere(
    example: Example, providers: PageProviders, logins: OAuthFake, provider: str, name: str
) -> None:
    before = len(logins.seen)
    model = BaseAPIModel(provider=provider, model_name=name)
    names = example.run(model=model)
    assert names["response"]["content"]
    strict = {**names["schema"], "additionalProperties": False}
    wanted = _openapi(names["schema"]) if provider == "google" else strict
    body = logins.seen[before][0] if provider.endswith("oauth") else providers.asked[0].body
    assert _schema_in(body) == wanted
    model.run(MESSAGES, response_schema=names["schema"], json_mode=True)
    body = logins.seen[-1][0] if provider.endswith("oauth") else providers.asked[1].body
    assert _schema_in(body) == wanted


@pytest.mark.example("Advanced Features / Streaming Responses#1")
def test_streams(
    example: Example,
    providers: PageProviders,
    model: BaseAPIModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example.run(model=model)
    assert capsys.readouterr().out == "".join(STORY)
    assert providers.asked[0].body["stream"] is True
    synchronous = Example("", example.code.replace("async for", "for"), 0, example.page)
    synchronous.run(model=model)
    assert capsys.readouterr().out == "".join(STORY)


@pytest.mark.example("Usage Tracking / Token Usage#1")
def test_usage_and_cost(
    example: Example,
    providers: PageProviders,
    model: BaseAPIModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = example.run(model=model, messages=MESSAGES)["usage"]
    assert capsys.readouterr().out.splitlines() == [
        "Prompt tokens: 1200",
        "Completion tokens: 300",
        "Total tokens: 1500",
        "Estimated cost: $0.0540",
    ]
    assert all(type(usage[name]) is int for name in ("prompt_tokens", "total_tokens"))


@pytest.mark.example("Best Practices / Configuration Management#1")
@pytest.mark.parametrize("told", [{}, {"MODEL_NAME": "openai/gpt-5", "MODEL_TEMPERATURE": "0.2"}])
def test_configuration_from_the_environment(
    example: Example, way: str, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    good = example.code.partition("# \N{CROSS MARK} BAD")[0]
    config = Example("", good, example.line, example.page).run(way)["config"]
    assert config.name == told.get("MODEL_NAME", "anthropic/claude-opus-4.6")
    assert config.temperature == float(told.get("MODEL_TEMPERATURE", "0.7"))
    assert config.max_tokens == 12000
    config = example.run(way)["config"]
    assert config.api_key == "sk-..."
    assert "sk-..." not in repr(config)


@pytest.mark.example("Best Practices / Resource Management#1")
def test_models_are_kept_and_cleaned_up(
    example: Example, providers: PageProviders, way: str
) -> None:
    manager = example.run(way, ModelConfig=ModelConfig, create_model=create_model)["ModelManager"]()
    remote = ModelConfig(type="api", provider="openrouter", name="openai/gpt-5")
    local = ModelConfig(type="local", model_class="llm", name="some/model")
    model = manager.get_model(remote)
    assert manager.get_model(remote.model_copy()) is model
    assert isinstance(manager.get_model(local), BaseLocalModel)
    assert model.run(MESSAGES)["content"]
    manager.cleanup()


@pytest.mark.example("Model Factory / Model Creation#1")
def test_an_installation_alone_is_enough(
    example: Example,
    page: Page,
    providers: PageProviders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No service runs: the example, as a program of its own, starts what it needs."""
    monkeypatch.setenv("MARSYS_EMBEDDED", "1")
    monkeypatch.delenv("MARSYS_API_TARGET")
    monkeypatch.setenv(
        "MARSYS_API_PROVIDERS__OPENROUTER__BASE_URL", providers.base_url("openrouter")
    )
    program = tmp_path / "program.py"
    program.write_text(example.program("notebook", "print(response['content'])"))
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.stderr, done.returncode) == ("Hello from here.\n", "", 0)


def _schema_in(body: Any) -> Any:
    """The schema of the answer, wherever a provider's requests have it."""
    for path in (
        ("response_format", "json_schema", "schema"),
        ("text", "format", "schema"),
        ("output_config", "format", "schema"),
        ("generationConfig", "responseJsonSchema"),
        ("generationConfig", "responseSchema"),
    ):
        found = body
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def _openapi(schema: Any) -> Any:
    """The schema as Google's responseSchema has it."""
    properties = {n: {"type": p["type"].upper()} for n, p in schema["properties"].items()}
    order = {"propertyOrdering": [*properties]}
    return {**schema, "type": "OBJECT", "properties": properties, **order}
