"""One turn of a conversation: a generation that can be stopped and leaves a whole answer behind."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from marsys.stream import Fold
from marsys.v1 import (
    ErrorReason,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    GenerationFinished,
    GenerationStarted,
    PartFinished,
    StreamEvent,
)
from serving.errors import ServiceError, service_error
from serving.event_numbers import EventNumbers
from serving.generator import Call, Generator

log = logging.getLogger(__name__)


class Turn:
    """A generation that runs in a task of its own.

    Args:
        number: its number in the conversation.
        generator: generates.
        request: what is asked; it must stay as it is until the turn has ended.
        call: whom it is for.
        on_change: called when there is something new to take.
        on_end: called once the turn has ended, before `on_change`.
    """

    def __init__(
        self,
        number: int,
        generator: Generator,
        request: GenerateRequest,
        call: Call,
        on_change: Callable[[], None],
        on_end: Callable[[Turn], None],
    ) -> None:
        self.number = number
        self.error: ServiceError | None = None
        self._generator = generator
        self._request = request
        self._call = call
        self._on_change, self._on_end = on_change, on_end
        self._numbers = EventNumbers(call)
        self._fold = Fold()
        self._interrupted = False
        self._batches: deque[Sequence[StreamEvent]] = deque()
        self._taken = asyncio.Event()
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._generate())
        self._task.add_done_callback(self._ended)

    @property
    def answered(self) -> bool:
        """Whether the whole answer has come; the turn may need a moment more to end."""
        return self._fold.finished

    @property
    def over(self) -> bool:
        """Whether the turn has ended: with an answer, or with `error`."""
        return self._over.is_set()

    @property
    def response(self) -> GenerateResponse:
        """The answer of a turn that has ended without an error."""
        return self._fold.result()

    def take(self) -> Sequence[StreamEvent]:
        """The next events; none where none have come."""
        if not self._batches:
            return ()
        self._taken.set()
        return self._batches.popleft()

    def interrupt(self) -> None:
        """Stop it. What was generated so far is its answer."""
        self._interrupted = True
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until the turn has ended."""
        await self._over.wait()

    async def close(self) -> None:
        """Stop it, whatever has come, and wait until it has stopped."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _generate(self) -> None:
        generated: Any = self._generator.generate(self._request, self._call)
        async with aclosing(generated) as batches:
            async for events in batches:
                if events:
                    self._put(events)
                while len(self._batches) > 1:  # who doesn't read holds the model up
                    self._taken.clear()
                    await self._taken.wait()

    def _put(self, events: Sequence[StreamEvent]) -> None:
        """Number the events, and keep them for the answer and for who takes them."""
        for event in self._numbers.put(events):
            self._fold.add(event)
        self._batches.append(events)
        self._on_change()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if self._interrupted and not self._fold.finished:
                self._put(_endings(self._fold))
        elif isinstance(error := task.exception(), ServiceError):
            self.error = error
        elif error is not None:
            log.error("unexpected %s", type(error).__name__, exc_info=error)
            self.error = _internal(f"unexpected {type(error).__name__}", self._call)
        if self.error is None and not self._fold.finished:
            self.error = _internal("the generation ended without its end", self._call)
        self._over.set()
        self._on_end(self)
        self._on_change()


def _endings(fold: Fold) -> list[StreamEvent]:
    """The events that end an answer where it stands."""
    events = [] if fold.started else [StreamEvent(started=GenerationStarted())]
    partial = fold.partial()
    for index in fold.open_parts:
        part = partial.message.parts[index]
        if part.HasField("tool_call"):
            part.tool_call.incomplete = True
        events.append(StreamEvent(part_finished=PartFinished(part_index=index, part=part)))
    finished = GenerationFinished(finish_reason=FinishReason.FINISH_REASON_INTERRUPTED)
    if partial.HasField("usage"):
        finished.usage.CopyFrom(partial.usage)
    return [*events, StreamEvent(finished=finished)]


def _internal(what: str, call: Call) -> ServiceError:
    return service_error(
        ErrorReason.ERROR_REASON_INTERNAL, f"{what}; see the service's log for {call.request_id}"
    )
