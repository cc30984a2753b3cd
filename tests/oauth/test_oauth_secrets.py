"""Every token holds a canary; none of them gets out of a service, whatever happens."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from oauth_fake import CANARY, OAuthFake
from test_oauth_calls import FILES, MODELS, PROVIDERS, log_in

from marsys.agents.exceptions import ModelAPIError
from marsys.models import BaseAPIModel

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_canaries(provider: str, fake: OAuthFake, home: Path, tmp_path: Path) -> None:
    """Good calls, refused ones, ones that repeat the token, failed and finished refreshes."""
    told = fake.service_settings["providers"][provider]
    config = tmp_path / "api.toml"
    config.write_text(
        f'oauth_providers = ["{provider}"]\nlog_level = "debug"\n[providers.{provider}]\n'
        + "\n".join(f'{key} = "{value}"' for key, value in told.items())
    )
    address_file, log_file = tmp_path / "address", tmp_path / "log"
    with log_file.open("wb") as log:
        service = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "api_service", "--config", str(config)),
            *("--address", "127.0.0.1:0", "--address-file", str(address_file)),
            cwd=ROOT,
            env={**os.environ, "GRPC_VERBOSITY": "info"},
            stdout=log,
            stderr=log,
        )
    told_to_callers: list[str] = []
    arguments: list[str] = []
    try:
        async with asyncio.timeout(60):
            while not address_file.exists():
                await asyncio.sleep(0.05)
        target = address_file.read_text()
        model = BaseAPIModel(provider, MODELS[provider], target=target, max_retries=0)

        async def call() -> None:
            try:
                answer = await model.run("Hi")
                told_to_callers.append(repr(answer))
            except ModelAPIError as error:
                told_to_callers.append(repr(error) + str(error.to_dict()))

        path = log_in(fake, provider, home / FILES[provider])
        await call()
        fake.delay = 0.5
        log_in(fake, provider, path, lifetime=-1)
        refreshed = asyncio.create_task(call())
        while not fake.exchanges:
            await asyncio.sleep(0.01)
        arguments.append(processes())
        await refreshed
        assert "api_service.oauth.refresh" in arguments[0]
        fake.delay = 0.0
        for status in (400, 401, 403, 429, 500):
            token = next(reversed(fake.alive))
            text = f"What is {token} worth? Bearer {token}"
            fake.refuse_calls = status, {"error": {"message": text, "code": token}}
            await call()
        for body in (
            {"error": "invalid_grant", "error_description": fake.refresh_token},
            {"error": {"code": fake.refresh_token, "message": fake.refresh_token}},
            {"error": fake.refresh_token},
            fake.refresh_token,
        ):
            fake.refuse_calls, fake.refuse = None, (400, body)
            log_in(fake, provider, path, lifetime=-1)
            await call()
        path.write_text('{"tokens": {"access_token": "' + CANARY)
        await call()
        path.write_text(f"{CANARY} is no JSON")
        await call()
    finally:
        service.terminate()
        await service.wait()
    assert len(told_to_callers) == 13
    assert sum("Paris." in each for each in told_to_callers) == 2
    told_to_all = log_file.read_text() + "".join(told_to_callers + arguments)
    assert CANARY not in told_to_all
    for token in fake.issued:
        assert token[-12:] not in told_to_all
    assert re.search("refreshed", log_file.read_text())


def processes() -> str:
    """Arguments of every process on the machine."""
    found = psutil.process_iter(["cmdline"])
    return "\n".join(" ".join(each.info["cmdline"] or ()) for each in found)


async def test_the_notices_are_shown_once(home: Path, serve: Any, caplog: Any) -> None:
    await serve(oauth_providers=["anthropic-oauth"])
    notices = [line for line in caplog.messages if "anthropic-oauth" in line]
    assert len(notices) == 1
    assert "own risk" in notices[0]
    assert not any("openai-oauth" in line for line in caplog.messages)
