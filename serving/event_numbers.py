"""Numbers of events: 0, 1, 2, ... in each generation."""

from __future__ import annotations

from collections.abc import Sequence

from marsys.stream import StreamError
from marsys.v1 import StreamEvent
from serving.generator import Call


class EventNumbers:
    """Numbers the events of a generation, and puts the request id into their header."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._next = 0
        self._finished = False

    def put(self, events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
        """The events, changed in place."""
        for event in events:
            event.sequence = self._next
            self._next += 1
            if event.HasField("started"):
                event.started.request_id = self._call.request_id
                if not event.started.response_id:
                    event.started.response_id = f"marsys-{self._call.request_id}"
            elif event.HasField("finished"):
                self._finished = True
        return events

    def check_end(self) -> None:
        """The generation has ended.

        Raises:
            StreamError: it did so without its terminal event.
        """
        if not self._finished:
            raise StreamError("the generation ended without its terminal event")
