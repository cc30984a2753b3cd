"""Both providers through the Python API, over gRPC, before strict fakes of their backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oauth_fake import OAuthFake

from marsys.agents.exceptions import ModelAPIError
from marsys.models import BaseAPIModel, ModelConfig

PROVIDERS = ("openai-oauth", "anthropic-oauth")
MODELS = {"openai-oauth": "gpt-5.3-codex", "anthropic-oauth": "claude-opus-4-6"}
FILES = {"openai-oauth": ".codex/auth.json", "anthropic-oauth": ".claude/.credentials.json"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def log_in(fake: OAuthFake, provider: str, path: Path, **life: float) -> Path:
    make = fake.codex_login if provider == "openai-oauth" else fake.claude_login
    return make(path, **life)


def model_of(provider: str, address: str, **keys: Any) -> BaseAPIModel:
    """As the reference page writes it."""
    config = ModelConfig(type="api", provider=provider, name=MODELS[provider], **keys)
    return BaseAPIModel.from_config(config, target=address)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_answer(provider: str, serve: Any, fake: OAuthFake, home: Path) -> None:
    log_in(fake, provider, home / FILES[provider])
    model = model_of(provider, await serve(), credentials_path=f"~/{FILES[provider]}")
    answer = await model.run([{"role": "user", "content": "Capital of France?"}])
    assert answer["content"] == "Paris."
    assert fake.exchanges == 0
    headers = fake.seen[-1][1]
    assert headers["User-Agent"] == "marsys-models"
    assert not {"originator", "x-app", "session_id"} & {name.lower() for name in headers}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_stream(provider: str, serve: Any, fake: OAuthFake, home: Path) -> None:
    log_in(fake, provider, home / FILES[provider])
    stream = model_of(provider, await serve()).stream("Capital of France?")
    pieces = [chunk.content async for chunk in stream if chunk.content]
    assert "".join(pieces) == "Paris."
    assert stream.response["content"] == "Paris."


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tools_and_reasoning(
    provider: str, streamed: bool, serve: Any, fake: OAuthFake, home: Path
) -> None:
    log_in(fake, provider, home / FILES[provider])
    model = (
        model_of(provider, await serve(), thinking_budget=2048, max_tokens=8192)
        if (provider == "anthropic-oauth")
        else model_of(provider, await serve(), reasoning_effort="high")
    )
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Paris?"},
    ]

    async def ask() -> Any:
        if not streamed:
            return await model.run(messages, tools=[WEATHER])
        stream = model.stream(messages, tools=[WEATHER])
        async for _ in stream:
            pass
        return stream.response

    answer = await ask()
    call = answer["tool_calls"][0]
    assert call["function"]["name"] == "get_weather"
    assert answer["thinking"] == "Hm."
    messages += [answer, {"role": "tool", "tool_call_id": call["id"], "content": "18 C"}]
    assert (await ask())["content"] == "Paris."
    body = fake.seen[-1][0]
    if provider == "openai-oauth":
        assert body["instructions"] == "Be brief."
        assert body["reasoning"]["effort"] == "high"
        kinds = [item.get("type", item.get("role")) for item in body["input"]]
        assert kinds == ["user", "reasoning", "function_call", "function_call_output"]
    else:
        assert body["system"] == "Be brief." or body["system"][0]["text"] == "Be brief."
        assert [block["type"] for block in body["messages"][1]["content"]] == [
            "thinking",
            "tool_use",
        ]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_structured_output(provider: str, serve: Any, fake: OAuthFake, home: Path) -> None:
    log_in(fake, provider, home / FILES[provider])
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    model = model_of(provider, await serve())
    answer = await model.run("What is 2+2?", response_schema=schema)
    assert answer["content"] == '{"answer": "4"}'
    body = fake.seen[-1][0]
    told = body["text"] if provider == "openai-oauth" else body["output_config"]
    assert told["format"]["type"] == "json_schema"


async def test_what_the_backend_demands(serve: Any, fake: OAuthFake, home: Path) -> None:
    fake.codex_login(home / FILES["openai-oauth"])
    address = await serve()
    # The default of max_tokens isn't sent; a caller's own is refused by name, never dropped.
    model = BaseAPIModel("openai-oauth", "gpt-5.3-codex", target=address)
    assert (await model.run("Hi"))["content"] == "Paris."
    assert fake.seen[-1][0]["instructions"] == "You are a helpful assistant."
    later: list[Any] = [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now in French."},
        {"role": "user", "content": "Hi"},
    ]
    await model.run(later)
    assert [item["role"] for item in fake.seen[-1][0]["input"]] == ["user", "developer", "user"]
    limited = BaseAPIModel("openai-oauth", "gpt-5.3-codex", max_tokens=1024, target=address)
    for call in (limited.run("Hi"), model.run("Hi", temperature=0.5)):
        with pytest.raises(ModelAPIError) as caught:
            await call
        assert caught.value.reason == "UNSUPPORTED_PARAMETER"
        assert caught.value.field in ("config.max_tokens", "config.temperature")


async def test_a_stream_that_nobody_reads_as_it_comes_is_repeated(
    serve: Any, fake: OAuthFake, home: Path
) -> None:
    fake.codex_login(home / FILES["openai-oauth"])
    model = model_of("openai-oauth", await serve())
    fake.drops = 2
    answer = await model.run("Hi")
    assert answer["content"] == "Paris."
    assert [attempt["provider"] for attempt in answer["metadata"]["attempts"]] == [
        "openai-oauth"
    ] * 2
    fake.drops = 1
    with pytest.raises(ModelAPIError):
        async for _ in model.stream("Hi"):
            pass


async def test_short_names_of_models(serve: Any, fake: OAuthFake, home: Path) -> None:
    fake.claude_login(home / FILES["anthropic-oauth"])
    address = await serve()
    for name, wanted in (
        ("opus", "claude-opus-4-8"),
        ("claude-opus-4.6", "claude-opus-4-6"),
        ("anthropic/sonnet", "claude-sonnet-4-6"),
    ):
        await BaseAPIModel("anthropic-oauth", name, target=address).run("Hi")
        assert fake.seen[-1][0]["model"] == wanted


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_off_until_turned_on(provider: str, serve: Any, fake: OAuthFake, home: Path) -> None:
    log_in(fake, provider, home / FILES[provider])
    address = await serve(oauth_providers=[])
    with pytest.raises(ModelAPIError) as caught:
        await model_of(provider, address).run("Hi")
    assert caught.value.reason == "NOT_ALLOWED"
    assert f"--oauth-providers {provider}" in caught.value.suggestion
    assert fake.seen == []


@pytest.mark.parametrize(
    ("provider", "status", "body"),
    [
        ("openai-oauth", 400, {"detail": "Instructions are not valid"}),
        (
            "anthropic-oauth",
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "This credential is only authorized for use with Claude Code and "
                    "cannot be used for other API requests.",
                },
            },
        ),
        ("anthropic-oauth", 400, {"error": {"type": "invalid_request_error", "message": "Error"}}),
        (
            "anthropic-oauth",
            403,
            {
                "error": {
                    "type": "permission_error",
                    "message": "OAuth authentication is currently not allowed for this "
                    "organization.",
                }
            },
        ),
    ],
)
async def test_refused_kind_of_login(
    provider: str, status: int, body: Any, serve: Any, fake: OAuthFake, home: Path
) -> None:
    log_in(fake, provider, home / FILES[provider])
    fake.refuse_calls = status, body
    with pytest.raises(ModelAPIError) as caught:
        await model_of(provider, await serve()).run("Hi")
    error = caught.value
    assert error.reason == "CREDENTIAL_NOT_PERMITTED"
    assert error.classification == "permission_denied"
    assert error.suggestion == f"Use an API key: provider '{provider.removesuffix('-oauth')}'."
    assert fake.exchanges == 0


async def test_a_login_goes_nowhere_else(serve: Any, fake: OAuthFake, home: Path) -> None:
    fake.codex_login(home / FILES["openai-oauth"])
    address = await serve()
    for keys in ({"base_url": "http://127.0.0.1:9/v1"}, {"api_key": "sk-1234"}):
        with pytest.raises(ModelAPIError) as caught:
            await model_of("openai-oauth", address, **keys).run("Hi")
        assert caught.value.field == f"target.{next(iter(keys))}"
    assert fake.seen == []


async def test_other_providers_take_no_login(serve: Any, fake: OAuthFake) -> None:
    model = BaseAPIModel("openai", "gpt-4o", api_key="k", oauth_profile="x", target=await serve())
    with pytest.raises(ModelAPIError) as caught:
        await model.run("Hi")
    assert caught.value.field == "target.oauth_profile"
