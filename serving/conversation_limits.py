"""How much conversations may take of a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from marsys.v1 import ErrorReason
from serving.errors import service_error


class ConversationLimits:
    """Bounds conversations (Converse), and counts them.

    Args:
        most: conversations at a time.
        most_bytes: size of what one of them holds: its parameters and all its messages.
        idle_timeout: seconds that one may lie idle: no turn runs and nothing is said.
    """

    def __init__(
        self, most: int = 1000, most_bytes: int = 64 * 1024 * 1024, idle_timeout: float = 1800.0
    ) -> None:
        self.most_bytes = most_bytes
        self.idle_timeout = idle_timeout
        self._most = most
        self._open = 0

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a conversation for as long as it lasts.

        Raises:
            ServiceError: there are too many (OVERLOADED).
        """
        if self._open >= self._most:
            raise service_error(
                ErrorReason.ERROR_REASON_OVERLOADED,
                f"the service holds {self._most} conversations, which is the most",
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
