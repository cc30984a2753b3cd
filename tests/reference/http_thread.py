"""An HTTP server of a test, on a thread and an event loop of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from loop_thread import LoopThread


@contextmanager
def served(application: web.Application) -> Iterator[str]:
    """Serve it; gives its URL."""
    loop = LoopThread()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = loop.do(start())
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        loop.do(runner.cleanup())
        loop.end()
