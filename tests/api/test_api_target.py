"""Whom a request goes to, and whose key goes with it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from api_upstream import Caller, Serve, Upstream, ask, completion, reply

from api_service.providers.table import OPENAI, ProviderRow
from api_service.settings import ApiSettings
from api_service.target import Targets
from marsys.v1 import ErrorReason
from serving.base_url import allowed_by, check_base_url, is_local_peer
from serving.errors import ServiceError
from serving.generator import Call

LOCAL = Call("id", "ipv4:127.0.0.1:40000", None, False)
REMOTE = Call("id", "ipv4:10.0.0.7:40000", None, False)
ENVIRON = {"OPENAI_API_KEY": "sk-service", "OPENROUTER_API_KEY": "sk-or", "XAI_API_KEY": "sk-xai"}


def targets(environ: dict[str, str] = ENVIRON, **settings: Any) -> Targets:
    return Targets(ApiSettings(**settings), environ)


@pytest.mark.parametrize(
    ("model", "target", "provider", "wire"),
    [
        ("openai/gpt-4o", {}, "openai", "gpt-4o"),
        ("openai/openai/gpt-4o", {}, "openai", "gpt-4o"),
        ("gpt-4o", {"provider": "openai"}, "openai", "gpt-4o"),
        ("openai/gpt-4o", {"provider": "openai"}, "openai", "gpt-4o"),
        ("openai/gpt-4o", {"provider": "openrouter"}, "openrouter", "openai/gpt-4o"),
        ("openrouter/anthropic/claude-opus-4.6", {}, "openrouter", "anthropic/claude-opus-4.6"),
        ("x-ai/grok-4", {"provider": "xai"}, "xai", "grok-4"),
        ("xai/grok-4", {}, "xai", "grok-4"),
        ("my/model", {"baseUrl": "http://localhost:1/v1"}, "custom", "my/model"),
        ("openai/gpt-oss", {"baseUrl": "http://localhost:1/v1"}, "custom", "openai/gpt-oss"),
        ("m", {"baseUrl": "http://localhost:1/v1", "provider": "custom"}, "custom", "m"),
    ],
)
def test_provider_and_model(model: str, target: dict[str, str], provider: str, wire: str) -> None:
    found = targets().resolve(ask(model, target=target), LOCAL)
    assert (found.provider, found.model) == (provider, wire)


@pytest.mark.parametrize(
    ("model", "target", "field"),
    [
        ("nobody/model", {}, "model"),
        ("gpt-4o", {}, "model"),
        ("openai/", {}, "model"),
        ("x", {"provider": "nobody"}, "target.provider"),
        ("x", {"provider": "custom"}, "target.provider"),
    ],
)
def test_unknown(model: str, target: dict[str, str], field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        targets().resolve(ask(model, target=target), LOCAL)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_INVALID_MODEL
    assert caught.value.error.field == field


@pytest.mark.parametrize("name", ["oauthProfile", "credentialsPath"])
def test_logins_are_not_taken(name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        targets().resolve(ask("openai/x", target={name: "x"}), LOCAL)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER


def test_missing_key_names_its_variable() -> None:
    with pytest.raises(ServiceError) as caught:
        targets({}).resolve(ask("openai/gpt-4o"), LOCAL)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED
    assert "OPENAI_API_KEY" in caught.value.error.message


def test_key_of_the_call_wins() -> None:
    found = targets().resolve(ask("openai/x", target={"apiKey": "sk-caller"}), LOCAL)
    assert found.headers["Authorization"] == "Bearer sk-caller"
    assert "sk-caller" not in repr(found)


def test_key_that_is_no_header_is_refused_without_being_told() -> None:
    with pytest.raises(ServiceError) as caught:
        targets().resolve(ask("openai/x", target={"apiKey": "sk-caller\r\nX: y"}), LOCAL)
    assert caught.value.error.field == "target.api_key"
    assert "sk-caller" not in str(caught.value.error)


def test_the_services_key_never_goes_to_a_callers_address() -> None:
    target = {"provider": "openai", "baseUrl": "http://localhost:1/v1"}
    found = targets().resolve(ask("gpt-4o", target=target), LOCAL)
    assert "Authorization" not in found.headers
    found = targets().resolve(ask("gpt-4o", target={**target, "apiKey": "mine"}), LOCAL)
    assert found.headers["Authorization"] == "Bearer mine"


async def test_the_services_key_is_not_sent_to_a_callers_address(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(reply(200, completion()))
    for provider in ("", "openrouter", "xai"):
        target = {"provider": provider, "baseUrl": upstream.url}
        await caller.generate(ask("some-model", target=target))
        assert "Authorization" not in upstream.seen[-1].headers
        assert "canary" not in str(upstream.seen[-1])


async def test_keys_are_in_no_error_and_no_log(
    caller: Caller, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = ("sk-operator-canary-0001", "caller canary".replace(" ", "-"))
    for status in (401, 503):
        for key, target in zip(keys, ({}, {"apiKey": keys[1]}), strict=True):
            text = "x" * 990 + key  # a cut must not leave half a key
            upstream.script(reply(status, {"error": {"message": text, "code": key}}))
            for stream in (False, True):
                error = await caller.failure(ask("openai/gpt-4o", target=target), stream)
                assert key[:6] not in str(error)
    ours = [record for record in caplog.records if record.name.startswith(("api_", "serving"))]
    assert ours
    assert not any(key in record.getMessage() for record in ours for key in keys)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://llm.example.com/v1", True),
        ("https://llm.example.com:443/v1/", True),
        ("https://LLM.example.com/v1/deep", True),
        ("https://llm.example.com/v12", False),
        ("https://llm.example.com/", False),
        ("http://llm.example.com/v1", False),
        ("https://llm.example.com:8443/v1", False),
        ("https://llm.example.com.evil.net/v1", False),
        ("https://evil.net/https://llm.example.com/v1", False),
    ],
)
def test_allow_list(url: str, allowed: bool) -> None:
    made = targets(allow_base_urls=["https://llm.example.com/v1"])
    request = ask("m", target={"baseUrl": url})
    if allowed:
        assert made.resolve(request, REMOTE).provider == "custom"
        return
    with pytest.raises(ServiceError) as caught:
        made.resolve(request, REMOTE)
    assert caught.value.error.field == "target.base_url"
    assert caught.value.error.reason in (
        ErrorReason.ERROR_REASON_NOT_ALLOWED,
        ErrorReason.ERROR_REASON_INVALID_REQUEST,
    )


@pytest.mark.parametrize(
    ("settings", "call"),
    [
        ({}, REMOTE),
        ({"allow_loopback_callers": False}, LOCAL),
        ({"address": "0.0.0.0:0", "token": "t"}, LOCAL),
    ],
)
def test_base_urls_are_closed_by_default(settings: dict[str, Any], call: Call) -> None:
    with pytest.raises(ServiceError) as caught:
        targets(**settings).resolve(ask("m", target={"baseUrl": "http://localhost:1"}), call)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
    assert caught.value.error.field == "target.base_url"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1", "file:///etc/passwd", "host/v1", "http://", "http://user:pw@host/v1",
        "http://host/v1?key=1", "http://host/v1#x", "http://host/v1/../admin", "http://host/a b",
        "http://host/%2e%2e/x", "http://host\\@evil/v1", "http://host:99999/v1", "http://host//x",
    ],
)  # fmt: skip
def test_malformed_base_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_base_url(url)
    with pytest.raises(ServiceError) as caught:
        targets().resolve(ask("m", target={"baseUrl": url}), LOCAL)
    assert caught.value.error.field == "target.base_url"


def test_allowed_paths_end_at_a_slash() -> None:
    assert allowed_by("http://h/a/b", ["http://h/a"])
    assert not allowed_by("http://h/ab", ["http://h/a"])


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:4", True),
        ("ipv6:[::1]:4", True),
        ("ipv6:%5B::1%5D:4", True),
        ("unix:/tmp/x", True),
        ("unix:", True),
        ("ipv4:10.127.0.1:4", False),
        ("ipv6:[::2]:4", False),
        ("", False),
    ],
)
def test_local_peers(peer: str, local: bool) -> None:
    assert is_local_peer(peer) is local


async def test_a_provider_row_is_all_that_a_provider_needs(
    serve: Serve, upstream: Upstream
) -> None:
    row = ProviderRow(name="acme", base_url=upstream.url, key_env="ACME_KEY", models_path="")
    caller = await serve(rows={"acme": row}, environ={"ACME_KEY": "sk-acme"})
    upstream.script(reply(200, completion("from acme")))
    answer = await caller.generate(ask("acme/rocket-1"))
    assert answer.provider == "acme"
    assert answer.message.parts[0].text.text == "from acme"
    assert upstream.seen[0].headers["Authorization"] == "Bearer sk-acme"
    assert upstream.seen[0].body["model"] == "rocket-1"


async def test_operator_adds_a_provider_and_moves_one(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARSYS_API_PROVIDERS__MINE__BASE_URL", upstream.url)
    monkeypatch.setenv("MARSYS_API_PROVIDERS__MINE__API_KEY_ENV", "MY_KEY")
    monkeypatch.setenv("MARSYS_API_PROVIDERS__XAI__BASE_URL", upstream.url + "/moved")
    caller = await serve(environ={"MY_KEY": "sk-mine", "XAI_API_KEY": "sk-service"})
    upstream.script(reply(200, completion()))
    await caller.generate(ask("mine/m"))
    await caller.generate(ask("xai/grok-2"))
    assert [seen.path for seen in upstream.seen] == [
        "/v1/chat/completions",
        "/v1/moved/chat/completions",
    ]
    assert upstream.seen[0].headers["Authorization"] == "Bearer sk-mine"
    assert upstream.seen[1].headers["Authorization"] == "Bearer sk-service"


def test_settings_show_no_key() -> None:
    settings = ApiSettings(providers={"openai": {"api_key": "sk-canary"}})
    assert "sk-canary" not in settings.shown()
    assert "sk-canary" not in repr(settings)


def test_added_provider_needs_an_address() -> None:
    with pytest.raises(ValueError, match="mine"):
        targets(providers={"mine": {"api_key": "k"}})


def test_rows_are_frozen() -> None:
    with pytest.raises(AttributeError):
        OPENAI.name = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("provider", "given", "used"),
    [
        ("anthropic", "https://gateway.example/anthropic", "https://gateway.example/anthropic/v1"),
        ("anthropic", "https://gateway.example/v1", "https://gateway.example/v1"),
        ("google", "https://gateway.example", "https://gateway.example/v1beta"),
        ("google", "https://gateway.example/v1", "https://gateway.example/v1"),
        ("google", "https://gateway.example/v1beta1", "https://gateway.example/v1beta1"),
        ("xai", "https://gateway.example/api", "https://gateway.example/api"),
    ],
)
def test_addresses_without_a_version_get_one(provider: str, given: str, used: str) -> None:
    """As the providers' own SDKs want them."""
    request = ask("some-model", target={"provider": provider, "baseUrl": given})
    assert targets().resolve(request, LOCAL).base_url == used


@pytest.mark.parametrize(
    ("model", "used"),
    [
        ("anthropic/claude-opus-4.6", "claude-opus-4-6"),
        ("anthropic/claude-opus-4-6", "claude-opus-4-6"),
        ("openrouter/anthropic/claude-opus-4.6", "anthropic/claude-opus-4.6"),
        ("google/gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_names_with_dots(model: str, used: str) -> None:
    environ = {"ANTHROPIC_API_KEY": "k", "OPENROUTER_API_KEY": "k", "GEMINI_API_KEY": "k"}
    assert targets(environ).resolve(ask(model), LOCAL).model == used
