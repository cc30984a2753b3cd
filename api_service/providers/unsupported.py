"""What happens to a set parameter that the provider or the model doesn't take."""

from __future__ import annotations

from api_service.providers.codec import Upstream
from marsys.v1 import GenerateRequest, UnsupportedPolicy, WarningCode
from serving.errors import unsupported
from serving.event_writer import EventWriter


class Refusals:
    """Refuses parameters, or leaves them out with a warning, as the request wants.

    Args:
        request: the request.
        upstream: whom it goes to.
        writer: takes the warnings.
    """

    def __init__(self, request: GenerateRequest, upstream: Upstream, writer: EventWriter) -> None:
        self._warn_only = request.on_unsupported == UnsupportedPolicy.UNSUPPORTED_POLICY_WARN
        self._upstream = upstream
        self._writer = writer

    def refuse(self, field: str, why: str) -> None:
        """A set parameter can't be honoured. Returns where it is to be left out.

        Raises:
            ServiceError: the request doesn't want parameters to be left out.
        """
        if not self._warn_only:
            raise unsupported(
                field, why, model=self._upstream.model, provider=self._upstream.row.name
            )
        self._writer.warn(
            WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER, field, f"{field} is left out: {why}"
        )

    def adjust(self, field: str, what: str) -> None:
        """A parameter is sent with another value than the caller's."""
        self._writer.warn(WarningCode.WARNING_CODE_ADJUSTED_PARAMETER, field, f"{field}: {what}")

    def drop(self, field: str, why: str) -> None:
        """Content is left out that the contract allows to be left out."""
        self._writer.warn(
            WarningCode.WARNING_CODE_DROPPED_CONTENT, field, f"{field} is left out: {why}"
        )
