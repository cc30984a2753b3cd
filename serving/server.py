"""Runs a service: port, TLS, health, reflection, orderly shutdown."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

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
from serving.logs import configure_logs
from serving.settings import ServerSettings, secrets_of, unknown_variables
from serving.unserved import UnservedOAuthService

log = logging.getLogger(__name__)

_LAST_SECONDS = 5.0  # that a shutdown may take, beside what running calls get
SERVICES = ("InferenceService", "ModelService", "OAuthService")
_INFERENCE = f"{v1.inference_service_pb2.DESCRIPTOR.package}.InferenceService"


class AddressError(Exception):
    """The address can't be listened on."""


class RunningServer:
    """A server that listens. Made by start_server.

    Attributes:
        address: where it listens, "HOST:PORT" or "unix:PATH".
    """

    def __init__(
        self, server: grpc.aio.Server, app: App, checks: health.HealthServicer, address: str
    ) -> None:
        self.address = address
        self._server = server
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
        await self._server.stop(0.5)
        await self._app.stop()
        return ended

    async def _open(self, settings: ServerSettings) -> None:
        limits = ConversationLimits(
            settings.max_conversations,
            settings.max_conversation_bytes,
            settings.conversation_idle_timeout,
        )
        inference = InferenceServicer(self._app.generator, self._drain, limits)
        inference_grpc.add_InferenceServiceServicer_to_server(inference, self._server)
        model_grpc.add_ModelServiceServicer_to_server(self._app.model_service, self._server)
        oauth = self._app.oauth_service or UnservedOAuthService()
        oauth_grpc.add_OAuthServiceServicer_to_server(oauth, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, self._server)
        names = (*_full_names(), health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._set_health(False)
        if isinstance(self._app, HasModelHealth):
            self._app.report_health(
                lambda model, serving: self._checks.set(f"{_INFERENCE}/{model}", serving)
            )
        self.address = _bind(self._server, settings)
        await self._server.start()
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
    limit = settings.max_message_bytes
    token = settings.token.get_secret_value() if settings.token else None
    server = grpc.aio.server(
        interceptors=[TokenInterceptor(token)] if token else [],
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            # Unless it is wanted, a second server on the port is an error.
            ("grpc.so_reuseport", int(settings.reuse_port)),
            # Clients may ask for a sign of life every 10 s, also while nothing runs.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", 60_000),
        ],
    )
    running = RunningServer(server, app, health.HealthServicer(), "")
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


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> str:
    try:
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            port = server.add_secure_port(settings.address, _credentials(settings))
        else:
            port = server.add_insecure_port(settings.address)
    except RuntimeError as error:
        raise AddressError(f"can't listen on {settings.address}: is it in use?") from error
    if settings.address.startswith("unix:"):
        return settings.address
    if not port:
        raise AddressError(f"can't listen on {settings.address}: is it in use?")
    return f"{settings.address.rpartition(':')[0]}:{port}"


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    assert settings.tls_cert_file is not None
    assert settings.tls_key_file is not None
    pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
    if settings.tls_client_ca_file is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=settings.tls_client_ca_file.read_bytes(),
        require_client_auth=True,
    )


def _full_names() -> list[str]:
    package = v1.inference_service_pb2.DESCRIPTOR.package
    return [f"{package}.{name}" for name in SERVICES]
