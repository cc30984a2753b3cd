"""Access tokens that end: renewed in time, after a 401, once for many; or an error that helps."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from oauth_fake import OAuthFake, written
from test_oauth_calls import FILES, MODELS, PROVIDERS, log_in, model_of

from marsys.agents.exceptions import ModelAPIError
from marsys.v1 import GenerateRequest, ListModelsRequest
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub
from marsys.v1.model_service_pb2_grpc import ModelServiceStub

COMMANDS = {"openai-oauth": "codex login", "anthropic-oauth": "claude login"}


def document(path: Path) -> Any:
    assert path.stat().st_mode & 0o777 == 0o600
    return json.loads(path.read_text())


async def ask(provider: str, address: str, **keys: Any) -> str:
    answer = await model_of(provider, address, **keys).run("Hi")
    return str(answer["content"])


async def refused(provider: str, address: str, **keys: Any) -> ModelAPIError:
    with pytest.raises(ModelAPIError) as caught:
        await ask(provider, address, **keys)
    return caught.value


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_token_that_ends_is_renewed(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = log_in(fake, provider, home / FILES[provider], lifetime=-1)
    before = document(path)
    assert await ask(provider, await serve()) == "Paris."
    assert (fake.exchanges, fake.unauthorized) == (1, 0)
    after = document(path)
    assert fake.token_headers["User-Agent"] == "marsys-models"
    if provider == "openai-oauth":
        assert after["tokens"]["refresh_token"] == fake.refresh_token
        assert after["tokens"]["id_token"] != before["tokens"]["id_token"]
        assert after["last_refresh"] != before["last_refresh"]
        for part in (before, after):  # all else is as it was
            for name in ("access_token", "refresh_token", "id_token"):
                del part["tokens"][name]
            del part["last_refresh"]
    else:
        assert after["claudeAiOauth"]["refreshToken"] == fake.refresh_token
        assert after["claudeAiOauth"]["expiresAt"] > time.time() * 1000
        for part in (before, after):
            for name in ("accessToken", "refreshToken", "expiresAt"):
                del part["claudeAiOauth"][name]
    assert before == after
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_token_is_renewed_shortly_before_its_end(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    log_in(fake, provider, home / FILES[provider], lifetime=3600, age=3400)
    assert await ask(provider, await serve()) == "Paris."
    assert (fake.exchanges, fake.unauthorized) == (1, 0)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tokens_of_a_short_life_are_not_renewed_at_every_call(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    fake.lifetime = 60.0
    log_in(fake, provider, home / FILES[provider])
    address = await serve()
    for _ in range(3):
        await ask(provider, address)
    assert fake.exchanges == 0


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_refused_token_is_renewed_once_and_the_call_repeated_once(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    log_in(fake, provider, home / FILES[provider])
    address = await serve()
    fake.alive.clear()  # the provider has ended it before its time
    assert await ask(provider, address) == "Paris."
    assert (fake.exchanges, fake.unauthorized, fake.calls) == (1, 1, 1)
    # Whatever is shown, it says 401: no loop.
    fake.refuse_calls = 401, {"detail": "Unauthorized"}
    error = await refused(provider, address)
    assert error.reason == "AUTHENTICATION_FAILED"
    assert COMMANDS[provider] in error.suggestion
    assert not error.is_retryable
    assert fake.exchanges == 2


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_token_that_another_program_renewed_is_adopted(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = log_in(fake, provider, home / FILES[provider])
    address = await serve()
    await ask(provider, address)
    fake.one_at_a_time = True
    log_in(fake, provider, path)  # the user logs in again; the old token is dead
    assert await ask(provider, address) == "Paris."
    assert (fake.exchanges, fake.unauthorized) == (0, 0)


async def test_many_calls_share_a_refresh(serve: Any, fake: OAuthFake, home: Path) -> None:
    fake.codex_login(home / FILES["openai-oauth"], lifetime=-1)
    fake.delay = 0.3
    address = await serve()
    answers = await asyncio.gather(*(ask("openai-oauth", address) for _ in range(30)))
    assert set(answers) == {"Paris."}
    assert (fake.exchanges, fake.reused, fake.unauthorized) == (1, 0, 0)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_caller_that_leaves_does_not_end_the_refresh(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = log_in(fake, provider, home / FILES[provider], lifetime=-1)
    fake.delay = 1.0
    address = await serve()
    async with grpc.aio.insecure_channel(address) as channel:
        request = GenerateRequest(model=f"{provider}/{MODELS[provider]}")
        request.messages.add(role="ROLE_USER").parts.add().text.text = "Hi"
        call = InferenceServiceStub(channel).Generate(request)
        while not fake.exchanges:
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - begun < 0.5
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # a deadline is kept meanwhile
            await InferenceServiceStub(channel).Generate(request, timeout=0.2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert fake.refresh_token not in path.read_text()
        answer = await InferenceServiceStub(channel).Generate(request)
        assert answer.message.parts[-1].text.text == "Paris."
    assert fake.refresh_token in path.read_text()
    assert (fake.exchanges, fake.reused) == (1, 0)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_grant", "error_description": "Refresh token not found"}),
        (401, {"error": {"code": "refresh_token_expired", "message": "…"}}),
        (401, b"no json"),
    ],
)
async def test_a_login_that_has_ended(
    provider: str, status: int, body: Any, serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = log_in(fake, provider, home / FILES[provider], lifetime=-1)
    fake.refuse = status, body if not isinstance(body, bytes) else body.decode()
    address = await serve()
    error = await refused(provider, address)
    assert error.reason == "AUTHENTICATION_FAILED"
    assert f"Run `{COMMANDS[provider]}`" in error.suggestion
    # That stays so, without asking again, until somebody logs in.
    fake.refuse = None
    assert (await refused(provider, address)).reason == "AUTHENTICATION_FAILED"
    assert fake.exchanges == 0
    log_in(fake, provider, path)
    assert await ask(provider, address) == "Paris."


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_token_endpoint_that_fails_for_now(
    provider: str, serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = log_in(fake, provider, home / FILES[provider], lifetime=-1)
    fake.refuse = 503, {"error": "server_error"}
    address = await serve()
    error = await refused(provider, address)
    assert (error.reason, error.is_retryable) == ("SERVICE_UNAVAILABLE", True)
    assert "503 server_error" in error.message
    before = path.read_text()
    fake.refuse = None
    assert await ask(provider, address) == "Paris."
    assert path.read_text() != before


async def test_a_token_that_lasts_is_used_while_its_endpoint_fails(
    serve: Any, fake: OAuthFake, home: Path
) -> None:
    fake.claude_login(home / FILES["anthropic-oauth"], lifetime=3600, age=3500)
    fake.refuse = 500, {}
    address = await serve()
    for _ in range(3):
        assert await ask("anthropic-oauth", address) == "Paris."
    assert fake.unauthorized == 0


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_no_refresh_token(provider: str, serve: Any, fake: OAuthFake, home: Path) -> None:
    path = log_in(fake, provider, home / FILES[provider], lifetime=-1)
    content = document(path)
    login = content["tokens"] if provider == "openai-oauth" else content["claudeAiOauth"]
    login["refresh_token" if provider == "openai-oauth" else "refreshToken"] = ""
    written(path, content)
    error = await refused(provider, await serve())
    assert "holds no refresh token" in error.message
    assert COMMANDS[provider] in error.suggestion


@pytest.mark.parametrize("skew", [-86400.0, 86400.0])
async def test_a_wrong_clock(skew: float, serve: Any, fake: OAuthFake, home: Path) -> None:
    """Tokens are dated by the provider's clock: no call fails, and refreshes are no storm."""
    fake.skew = skew
    fake.codex_login(home / FILES["openai-oauth"])
    address = await serve()
    for _ in range(4):
        assert await ask("openai-oauth", address) == "Paris."
    assert fake.exchanges <= 1
    fake.refuse_calls = 401, {"detail": "Unauthorized"}
    error = await refused("openai-oauth", address)
    side = "behind" if skew > 0 else "ahead of"
    assert f"s {side} the provider's" in error.message


async def test_lists_and_counts_are_signed_too(serve: Any, fake: OAuthFake, home: Path) -> None:
    for provider in PROVIDERS:
        log_in(fake, provider, home / FILES[provider], lifetime=-1)
    async with grpc.aio.insecure_channel(await serve()) as channel:
        page = await ModelServiceStub(channel).ListModels(ListModelsRequest())
    names = [model.name for model in page.models]
    assert "anthropic-oauth/claude-opus-4-6" in names
    assert "openai-oauth/gpt-5.3-codex" in names
    assert fake.exchanges == 1


async def test_a_provider_without_login_is_not_listed(serve: Any, fake: OAuthFake) -> None:
    async with grpc.aio.insecure_channel(await serve()) as channel:
        page = await ModelServiceStub(channel).ListModels(ListModelsRequest())
    assert not page.models


async def test_the_refreshing_process_ends_with_its_work(
    serve: Any, fake: OAuthFake, home: Path
) -> None:
    fake.claude_login(home / FILES["anthropic-oauth"], lifetime=-1)
    await ask("anthropic-oauth", await serve())
    children = psutil.Process().children()
    assert not [each for each in children if "api_service.oauth.refresh" in each.cmdline()]
