"""One login, many processes: one exchange a rotation, no failed call, nothing lost to kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from oauth_fake import OAuthFake
from test_oauth_calls import FILES, MODELS, PROVIDERS, log_in

from api_service.oauth.credential_file import read_file
from api_service.oauth.kinds import KINDS
from marsys.v1 import GenerateRequest
from marsys.v1.inference_service_pb2_grpc import InferenceServiceStub

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("oauth_worker.py")
PROCESSES = 8
REQUESTS = 50
_REFRESH = "api_service.oauth.refresh"


@pytest.fixture
async def addresses(fake: OAuthFake, home: Path, tmp_path: Path) -> AsyncIterator[list[str]]:
    """Eight services in processes of their own, one user's."""
    config = tmp_path / "api.toml"
    lines = ['oauth_providers = ["openai-oauth", "anthropic-oauth"]']
    for provider, told in fake.service_settings["providers"].items():
        lines += [f"[providers.{provider}]", *(f'{key} = "{told[key]}"' for key in told)]
    config.write_text("\n".join(lines))
    processes = []
    files = [tmp_path / f"address-{number}" for number in range(PROCESSES)]
    for file in files:
        arguments = ("--config", config, "--address", "127.0.0.1:0", "--address-file", file)
        command = [sys.executable, "-m", "api_service", *map(str, arguments)]
        with (tmp_path / f"{file.name}.log").open("wb") as log:
            processes.append(
                await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=log, stderr=log)
            )
    try:
        for file in files:
            async with asyncio.timeout(120):
                while not file.exists():
                    await asyncio.sleep(0.05)
        yield [file.read_text() for file in files]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await process.wait()


async def ask_often(address: str, provider: str, pace: float) -> list[str]:
    """The answers, or errors, of many calls to one service."""
    request = GenerateRequest(model=f"{provider}/{MODELS[provider]}")
    request.messages.add(role="ROLE_USER").parts.add().text.text = "Hi"
    answers = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = InferenceServiceStub(channel)
        for _ in range(REQUESTS):
            try:
                answer = await stub.Generate(request, timeout=60, wait_for_ready=True)
                answers.append(answer.message.parts[-1].text.text)
            except grpc.aio.AioRpcError as error:
                answers.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(pace * random.random() * 2)
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("one_at_a_time", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_eight_processes_and_an_ending_token(
    provider: str, one_at_a_time: bool, addresses: list[str], fake: OAuthFake, home: Path
) -> None:
    fake.lifetime, fake.delay, fake.one_at_a_time = 6.0, 0.2, one_at_a_time
    path = log_in(fake, provider, home / FILES[provider])
    logins = len(fake.spent)
    begun = time.monotonic()
    calls = (ask_often(address, provider, pace=0.3) for address in addresses)
    answers = [answer for each in await asyncio.gather(*calls) for answer in each]
    took = time.monotonic() - begun
    assert len(answers) == PROCESSES * REQUESTS
    assert set(answers) == {"Paris."}
    # A token is exchanged a quarter of its life before its end: none of them twice.
    assert fake.reused == logins == 0
    assert 2 <= fake.exchanges <= took / (fake.lifetime * 0.75) + 1
    held = read_file(KINDS[provider], path)
    assert held.credentials.refresh_token == fake.refresh_token
    kept = held.document["agent_identity" if provider == "openai-oauth" else "mcpOAuth"]
    assert kept == {"kept": "too"}


@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.slow)])
async def test_kill(rounds: int, fake: OAuthFake, home: Path) -> None:
    """A process is killed at any moment of its refresh; the login stays, and so does its file."""
    provider = "openai-oauth"
    fake.delay = 0.05
    path = fake.codex_login(home / FILES[provider])
    places = random.Random(rounds)
    async with watched(path):
        for _ in range(rounds):
            before = fake.exchanges
            worker = await start_worker(fake, home, provider)
            try:
                await until(lambda before=before: fake.exchanges > before)
                await asyncio.sleep(places.random() * 0.4)
            finally:
                worker.send_signal(signal.SIGKILL)
                await worker.wait()
            json.loads(path.read_bytes())
    await until(lambda: fake.refresh_token in path.read_text())
    assert fake.reused == 0
    assert fake.exchanges >= rounds
    document = read_file(KINDS[provider], path).document
    assert document["agent_identity"] == {"kept": "too"}
    assert document["tokens"]["future_field"] == [1, {"kept": True}]


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
async def test_kill_the_refresh_itself(rounds: int, fake: OAuthFake, home: Path) -> None:
    """Even the process that refreshes is killed: its file is whole, and only a token that was on
    its way from the provider is lost."""
    provider = "anthropic-oauth"
    path = fake.claude_login(home / FILES[provider])
    places = random.Random(rounds)
    lost = 0
    worker = await start_worker(fake, home, provider)
    try:
        for _ in range(rounds):
            before = fake.exchanges
            await asyncio.sleep(places.random() * 0.5)
            for process in refreshing():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            json.loads(path.read_bytes())
            held = read_file(KINDS[provider], path).credentials
            if held.refresh_token in fake.spent and not await settles(fake, path):
                lost += 1
                assert fake.exchanges > before
                fake.claude_login(path)  # the user logs in again
    finally:
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    assert fake.exchanges > rounds / 5
    assert lost < rounds / 2
    print(f"{lost} of {rounds} lost in {fake.exchanges} exchanges")


async def settles(fake: OAuthFake, path: Path) -> bool:
    """Whether the newest token gets to the file: written by another process, or recovered."""
    try:
        await until(lambda: fake.refresh_token in path.read_text(), 2.0)
    except AssertionError:
        return False
    return True


async def start_worker(fake: OAuthFake, home: Path, provider: str) -> asyncio.subprocess.Process:
    url = fake.codex_settings if provider == "openai-oauth" else fake.claude_settings
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        str(home),
        provider,
        url["token_url"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"ready\n"
    return worker


def refreshing() -> list[int]:
    """The processes that are refreshing a login."""
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if _REFRESH in (each.info["cmdline"] or ())]


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[None]:
    """Looks at the file all the while: it must always be JSON."""

    async def look() -> None:
        while True:
            json.loads(path.read_bytes())
            await asyncio.sleep(0.001)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    yield
    assert not looking.done()
    looking.cancel()


async def until(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        await asyncio.sleep(0.002)
