"""api_service on a real socket in front of a scripted upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
import trustme
from aiohttp import web
from api_raw_upstream import RawUpstream
from api_upstream import Caller, Serve, Upstream

from api_service.providers.table import PROVIDERS, ProviderRow
from api_service.service import ApiApp
from api_service.settings import ApiSettings
from serving.server import start_server


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """The scripted upstream, under /v1."""
    scripted = Upstream()
    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts api_service: `await serve(rows=..., environ=..., **settings)`."""
    async with AsyncExitStack() as stack:

        async def start(
            rows: Mapping[str, ProviderRow] = PROVIDERS,
            environ: Mapping[str, str] | None = None,
            **settings: Any,
        ) -> Caller:
            values = {"address": "127.0.0.1:0", "retry_base_delay": 0.001, **settings}
            told = ApiSettings(**values)
            server = await start_server(told, ApiApp(told, rows, environ or {}))
            stack.push_async_callback(server.stop, 0)
            await server.ready()
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
            return Caller(channel, server.address)

        yield start


@pytest.fixture
async def caller(serve: Serve, upstream: Upstream) -> Caller:
    """A client of a service whose providers are all the scripted upstream."""
    key = "sk-operator-canary-0001"
    providers = {
        name: {"base_url": upstream.url, "api_key": key}
        for name, row in PROVIDERS.items()
        if not row.login
    }
    return await serve(providers=providers)


@pytest.fixture
async def wire() -> AsyncIterator[RawUpstream]:
    """An upstream that writes bytes as it is told."""
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def wire_caller(serve: Serve, wire: RawUpstream) -> Caller:
    """A client of a service whose provider "acme" is `wire`."""
    return await serve(providers={"acme": {"base_url": wire.url}})


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody knows yet."""
    return trustme.CA()
