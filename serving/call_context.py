"""What handlers use of the call that they answer, whichever server carries it."""

from __future__ import annotations

from typing import Any, Protocol

import grpc


class CallContext(Protocol):
    """A call. grpc.aio.ServicerContext is one; so is serving.http2's."""

    def invocation_metadata(self) -> Any:
        """The caller's metadata: pairs of a name in lower case and a str, or bytes for "-bin"."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: it has none."""

    def peer(self) -> str:
        """The caller's address, such as "ipv4:127.0.0.1:40000" or "unix:"."""

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        """To be awaited: ends the call with a status. Raises grpc.aio.AbortError."""

    def abort_with_status(self, status: grpc.Status) -> Any:
        """To be awaited: the same with trailing metadata."""
