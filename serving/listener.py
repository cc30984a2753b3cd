"""What carries calls: grpc.aio's server, or ours on a native HTTP/2 library."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Protocol

import grpc

from serving.settings import ServerSettings


class AddressError(Exception):
    """The address can't be listened on."""


class Listener(Protocol):
    """A server that takes servicers before it listens.

    Attributes:
        taker: what the generated add_*_to_server functions are given.
    """

    taker: Any

    async def listen(self, settings: ServerSettings) -> str:
        """Listen; gives the address, "HOST:PORT" or "unix:PATH".

        Raises:
            AddressError: the address is in use or can't be bound.
        """

    async def stop(self, grace: float) -> None:
        """Take no new calls, and end after `grace` seconds those that still run."""


def make_listener(
    settings: ServerSettings, interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> Listener:
    """The listener that the settings want.

    Raises:
        AddressError: the library that it needs isn't installed.
    """
    if settings.transport == "grpc":
        return _GrpcListener(settings, interceptors)
    try:
        return _Http2Listener(settings, interceptors)
    except ModuleNotFoundError as error:
        raise AddressError(
            f"transport http2 needs {error.name}: pip install 'marsys-models[http2]'"
        ) from None


class _GrpcListener:
    """grpc.aio."""

    def __init__(
        self, settings: ServerSettings, interceptors: Sequence[grpc.aio.ServerInterceptor]
    ) -> None:
        limit = settings.max_message_bytes
        self.taker: Any = grpc.aio.server(
            interceptors=interceptors,
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # Unless it is wanted, a second server on the port is an error.
                ("grpc.so_reuseport", int(settings.reuse_port)),
                # Clients may ask for a sign of life every 10 s, also while nothing runs.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", 60_000),
            ],
        )

    async def listen(self, settings: ServerSettings) -> str:
        address = self._bind(settings)
        await self.taker.start()
        return address

    async def stop(self, grace: float) -> None:
        await self.taker.stop(grace)

    def _bind(self, settings: ServerSettings) -> str:
        try:
            if settings.tls_cert_file is not None and settings.tls_key_file is not None:
                port = self.taker.add_secure_port(settings.address, _credentials(settings))
            else:
                port = self.taker.add_insecure_port(settings.address)
        except RuntimeError as error:
            raise AddressError(f"can't listen on {settings.address}: is it in use?") from error
        if settings.address.startswith("unix:"):
            return settings.address
        if not port:
            raise AddressError(f"can't listen on {settings.address}: is it in use?")
        return f"{settings.address.rpartition(':')[0]}:{port}"


class _Http2Listener:
    """serving.http2."""

    def __init__(
        self, settings: ServerSettings, interceptors: Sequence[grpc.aio.ServerInterceptor]
    ) -> None:
        from serving.http2.server import Http2Server

        self._server = Http2Server(settings.max_message_bytes, interceptors)
        self.taker: Any = self._server.handlers

    async def listen(self, settings: ServerSettings) -> str:
        try:
            return await self._server.listen(
                settings.address, _tls(settings), reuse_port=settings.reuse_port
            )
        except OSError as error:
            raise AddressError(
                f"can't listen on {settings.address}: is it in use? ({error.strerror or error})"
            ) from error

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)


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


def _tls(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.tls_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    context.set_alpn_protocols(["h2"])
    if settings.tls_client_ca_file is not None:
        context.load_verify_locations(settings.tls_client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
