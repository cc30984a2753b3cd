"""The fold: stream events -> the unary response.

Written once: the services answer unary calls with it, the client builds the final response of a
stream with it. So a streamed and a unary answer can't disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

from marsys.v1 import (
    FinishReason,
    GenerateResponse,
    Message,
    Part,
    PartDelta,
    Role,
    StreamEvent,
)


class StreamError(Exception):
    """A series of events breaks the rules of the contract: a gap, a second or missing end."""


class Fold:
    """Folds the events of one generation.

    Feed every event to `add`, in order. `response` holds what has come so far: usable as a partial
    answer at any time, whole once `finished` is true. `started`: the model has begun to answer.
    """

    def __init__(self) -> None:
        self.response = GenerateResponse()
        self.response.message.role = Role.ROLE_ASSISTANT
        self.started = False
        self.finished = False
        self._next_sequence = 0
        self._open: dict[int, list[str]] = {}

    def add(self, event: StreamEvent) -> None:
        """Take the next event.

        Raises:
            StreamError: the sequence has a gap, a part is unknown or already complete, or the
                generation has already ended.
        """
        if self.finished:
            raise StreamError("an event came after the terminal event")
        if event.sequence != self._next_sequence:
            raise StreamError(
                f"event {event.sequence} came where {self._next_sequence} was expected"
            )
        self._next_sequence += 1
        kind = event.WhichOneof("event")
        if kind == "part_delta":
            self._append(event.part_delta)
        elif kind == "part_started":
            self._start(event.part_started.part_index, event.part_started.part)
        elif kind == "part_finished":
            self._finish(event.part_finished.part_index, event.part_finished.part)
        elif kind == "started":
            self._take_header(event)
        elif kind == "usage_updated":
            self.response.usage.CopyFrom(event.usage_updated.usage)
        elif kind == "warning_raised":
            self.response.warnings.append(event.warning_raised.warning)
        elif kind == "attempt_failed":
            self.response.attempts.append(event.attempt_failed.attempt)
        elif kind == "finished":
            self._end(event)
        # An event of a kind that this version does not know adds nothing that it could keep.

    def result(self) -> GenerateResponse:
        """The whole response.

        Raises:
            StreamError: the stream ended before its terminal event.
        """
        if not self.finished:
            raise StreamError("the stream ended before its terminal event")
        return self.response

    def partial(self) -> GenerateResponse:
        """A copy of the response with the parts that are still open as far as they have come."""
        response = GenerateResponse()
        response.CopyFrom(self.response)
        for index, chunks in self._open.items():
            _set_text(response.message.parts[index], "".join(chunks))
        return response

    @property
    def open_parts(self) -> list[int]:
        """Indexes of the parts that have begun and not ended."""
        return list(self._open)

    def _take_header(self, event: StreamEvent) -> None:
        self.started = True
        started, response = event.started, self.response
        response.response_id = started.response_id
        response.model = started.model
        response.provider = started.provider
        response.request_id = started.request_id
        if started.HasField("create_time"):
            response.create_time.CopyFrom(started.create_time)

    def _start(self, index: int, part: Part) -> None:
        if index != len(self.response.message.parts):
            raise StreamError(f"part {index} started out of order")
        self.response.message.parts.append(part)
        self._open[index] = []

    def _append(self, delta: PartDelta) -> None:
        chunks = self._open.get(delta.part_index)
        kind = delta.WhichOneof("delta")
        if chunks is None:
            raise StreamError(f"a delta came for part {delta.part_index}, which is not open")
        if kind is not None:
            chunks.append(getattr(delta, kind))

    def _finish(self, index: int, part: Part) -> None:
        if self._open.pop(index, None) is None:
            raise StreamError(f"part {index} finished without being open")
        self.response.message.parts[index].CopyFrom(part)

    def _end(self, event: StreamEvent) -> None:
        if self._open:
            raise StreamError(f"the stream ended with open parts: {sorted(self._open)}")
        finished, response = event.finished, self.response
        response.finish_reason = finished.finish_reason
        response.raw_finish_reason = finished.raw_finish_reason
        if finished.HasField("stop_sequence"):
            response.stop_sequence = finished.stop_sequence
        if finished.HasField("usage"):
            response.usage.CopyFrom(finished.usage)
        if finished.HasField("cost"):
            response.cost.CopyFrom(finished.cost)
        self.finished = True


def fold(events: Iterable[StreamEvent]) -> GenerateResponse:
    """The unary response that a whole series of events means.

    Raises:
        StreamError: the series breaks the rules of the contract or has no terminal event.
    """
    state = Fold()
    for event in events:
        state.add(event)
    return state.result()


def spoken(response: GenerateResponse) -> Message | None:
    """What of an answer belongs into the conversation; None where nothing does.

    Calls that are incomplete can't go back. Of an interrupted answer no call is run, and reasoning
    that led to nothing is of no use.
    """
    interrupted = response.finish_reason == FinishReason.FINISH_REASON_INTERRUPTED
    parts = [
        part
        for part in response.message.parts
        if not (part.HasField("tool_call") and (interrupted or part.tool_call.incomplete))
        and not (interrupted and part.HasField("text") and not part.text.text)
    ]
    while interrupted and parts and parts[-1].HasField("reasoning"):
        parts.pop()
    return Message(role=Role.ROLE_ASSISTANT, parts=parts) if parts else None


def _set_text(part: Part, text: str) -> None:
    kind = part.WhichOneof("content")
    if kind == "tool_call":
        part.tool_call.arguments_json = text
    elif kind in ("text", "reasoning", "refusal"):
        getattr(part, kind).text = text
