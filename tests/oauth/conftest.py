"""api_service on a real socket before fake providers, with a home directory of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from oauth_fake import OAuthFake

from api_service.service import ApiApp
from api_service.settings import ApiSettings
from serving.server import start_server

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def fake() -> AsyncIterator[OAuthFake]:
    """The providers."""
    providers = OAuthFake()
    runner = web.AppRunner(providers.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    providers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield providers
    await runner.cleanup()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, of the service and of this process."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    names = ("CODEX_AUTH_PATH", "CODEX_HOME", "CLAUDE_AUTH_PATH", "CLAUDE_CONFIG_DIR")
    for name in (*names, "MARSYS_CREDENTIALS_PATH", "MARSYS_API_TARGET"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
async def serve(fake: OAuthFake, home: Path) -> AsyncIterator[Serve]:
    """Starts api_service: `await serve(environ=..., **settings)` gives its address."""
    async with AsyncExitStack() as stack:

        async def start(environ: dict[str, str] | None = None, **settings: Any) -> str:
            values = {
                "address": "127.0.0.1:0",
                "retry_base_delay": 0.001,
                **fake.service_settings,
                **settings,
            }
            told = ApiSettings(**values)
            app = ApiApp(told, environ={"HOME": str(home), **(environ or {})})
            server = await start_server(told, app)
            stack.push_async_callback(server.stop, 0)
            await server.ready()
            return server.address

        yield start


@pytest.fixture
async def channel(serve: Serve) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a service with both providers on."""
    async with grpc.aio.insecure_channel(await serve()) as opened:
        yield opened
