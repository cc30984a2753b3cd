"""Runs a service: port, TLS, health, reflection, orderly shutdown."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys

from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from marsys import v1
from marsys.v1 import inference_service_pb2_grpc as inference_grpc
from marsys.v1 import model_service_pb2_grpc as model_grpc
from marsys.v1 import oauth_service_pb2_grpc as oauth_grpc
from serving import health
from serving.app import App, HasModelHealth
from serving.auth import TokenInterceptor
from serving.conversation_limits import ConversationLimits
from serving.drain import Drain
from serving.files import write_whole
from serving.handlers import InferenceServicer
from serving.lifeline import watch_stdin
from serving.listener import AddressError, Listener, make_listener
from serving.logs import configure_logs
from serving.settings import ServerSettings, secrets_of, unknown_variables
from serving.unserved import UnservedOAuthService

log = logging.getLogger(__name__)

_LAST_SECONDS = 5.0  # that a shutdown may take, beside what running calls get
SERVICES = ("InferenceService", "ModelService", "OAuthService")
_INFERENCE = f"{v1.inference_service_pb2.DESCRIPTOR.package}.InferenceService"


class RunningServer:
    """A server that listens. Made by start_server.

    Attributes:
        address: where it listens, "HOST:PORT" or "unix:PATH".
    """

    def __init__(self, listener: Listener, app: App, checks: health.HealthServicer) -> None:
        self.address = ""
        self._listener = listener
        self._app = app
        self._checks = checks
        self._drain = Drain()
        self._starting: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until the service answers.

        Raises:
            Exception: what App.start raised.
        """
        if self._starting is not None:
            await asyncio.shield(self._starting)

    async def stop(self, grace: float) -> bool:
        """Say NOT_SERVING, refuse new calls, let the running ones end, stop.

        Args:
            grace: how long running calls may take, in seconds; then they are cancelled.

        Returns:
            Whether all calls had ended by themselves.
        """
        self._checks.close()
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        ended = await self._drain.close(grace)
        if not ended:
            log.warning("%d calls are cancelled after %.0f s", self._drain.running, grace)
        await self._listener.stop(0.5)
        await self._app.stop()
        return ended

    async def _open(self, settings: ServerSettings) -> None:
        limits = ConversationLimits(
            settings.max_conversations,
            settings.max_conversation_bytes,
            settings.conversation_idle_timeout,
        )
        inference = InferenceServicer(self._app.generator, self._drain, limits)
        taker = self._listener.taker
        inference_grpc.add_InferenceServiceServicer_to_server(inference, taker)
        model_grpc.add_ModelServiceServicer_to_server(self._app.model_service, taker)
        oauth = self._app.oauth_service or UnservedOAuthService()
        oauth_grpc.add_OAuthServiceServicer_to_server(oauth, taker)
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, taker)
        names = (*_full_names(), health.SERVICE_NAME, reflection.SERVICE_NAME)
        servicer = reflection.aio.ReflectionServicer(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, taker)
        self._set_health(False)
        if isinstance(self._app, HasModelHealth):
            self._app.report_health(
                lambda model, serving: self._checks.set(f"{_INFERENCE}/{model}", serving)
            )
        self.address = await self._listener.listen(settings)
        self._starting = asyncio.create_task(self._start_app())

    async def _start_app(self) -> None:
        await self._app.start()
        self._set_health(True)
        log.info("serving on %s", self.address)

    def _set_health(self, serving: bool) -> None:
        for name in ("", *_full_names()):
            self._checks.set(name, serving)


async def start_server(settings: ServerSettings, app: App) -> RunningServer:
    """Listen, and get the app ready in the background.

    Raises:
        AddressError: the address is in use or can't be bound.
    """
    token = settings.token.get_secret_value() if settings.token else None
    interceptors = [TokenInterceptor(token)] if token else []
    running = RunningServer(make_listener(settings, interceptors), app, health.HealthServicer())
    await running._open(settings)
    if settings.address_file is not None:
        write_whole(settings.address_file, running.address)
    return running


def run(settings: ServerSettings, app: App) -> int:
    """Serve until SIGINT or SIGTERM. Returns the process's exit status."""
    in_environment = [v for k, v in os.environ.items() if k.endswith(("_API_KEY", "_TOKEN"))]
    secrets = [*secrets_of(settings), *in_environment]
    configure_logs(settings.log_level, settings.log_format, secrets)
    for variable in unknown_variables(settings):
        log.warning("the environment variable %s names no setting", variable)
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(_serve(settings, app))
    status: int = uvloop.run(_serve(settings, app))
    return status


async def _serve(settings: ServerSettings, app: App) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stopping)
    if settings.end_with_stdin:
        watch_stdin(lambda: loop.call_soon_threadsafe(stopping.set), settings.grace + _LAST_SECONDS)
    log.info("settings: %s", settings.shown())
    try:
        server = await start_server(settings, app)
    except AddressError as error:
        log.error("%s", error)
        return 1
    # What the start has made stays: no collection looks at it again.
    gc.collect()
    gc.freeze()
    log.info("listening on %s", server.address)
    waiting = asyncio.create_task(stopping.wait())
    ready = asyncio.create_task(server.ready())
    await asyncio.wait({waiting, ready}, return_when=asyncio.FIRST_COMPLETED)
    status = 0
    if not waiting.done() and ready.exception() is not None:
        log.error("the service can't start: %s", ready.exception())
        status = 1
    else:
        await waiting
        log.info("shutting down, running calls have %.0f s", settings.grace)
    ready.cancel()
    waiting.cancel()
    await server.stop(settings.grace)
    log.info("stopped")
    return status


def _on_signal(stopping: asyncio.Event) -> None:
    if stopping.is_set():  # asked twice: no more patience
        log.warning("stopped at once")
        sys.stderr.flush()
        os._exit(130)
    stopping.set()


def _full_names() -> list[str]:
    package = v1.inference_service_pb2.DESCRIPTOR.package
    return [f"{package}.{name}" for name in SERVICES]
