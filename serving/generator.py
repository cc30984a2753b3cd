"""What a service implements to serve InferenceService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from marsys.v1 import CountTokensResponse, GenerateRequest, StreamEvent


@dataclass(frozen=True, slots=True)
class Call:
    """What a generator may know of the call that it answers.

    Attributes:
        request_id: id of the call in the log.
        peer: the caller's address as gRPC gives it, such as "ipv4:127.0.0.1:40000".
        deadline: when the caller stops waiting, in seconds of time.monotonic(); None is never.
        stream: whether the caller reads the events as they come.
    """

    request_id: str
    peer: str
    deadline: float | None
    stream: bool


class Generator(Protocol):
    """Turns requests into events. Knows nothing of gRPC.

    Requests have passed serving.validation. A cancelled call or a passed deadline cancels the task
    that iterates: the iteration must then stop its work at once and let CancelledError pass.
    """

    def generate(
        self, request: GenerateRequest, call: Call
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        """The events of one generation, in batches of what arrived together.

        Sequence numbers are left to the caller. The last event is `finished`.

        Raises:
            ServiceError: the call failed; before the first event or after any.
        """
        ...

    async def count_tokens(self, request: GenerateRequest, call: Call) -> CountTokensResponse:
        """Tokens of the request's prompt.

        Raises:
            ServiceError: the prompt can't be counted.
        """
        ...
