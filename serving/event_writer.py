"""Builds a generation's events: assigns part indexes, joins deltas, closes parts whole.

Codecs and adapters say what a model does; what arrived since the last `take` becomes as few events
as can be, so that what arrives together is sent together. Sequence numbers are given where the
events leave the service (`serving.handlers`).
"""

from __future__ import annotations

import json
import time
from typing import Any, Literal

from marsys.v1 import (
    Citation,
    Cost,
    FinishReason,
    GenerationFinished,
    GenerationStarted,
    OpaqueState,
    Part,
    PartFinished,
    PartStarted,
    StreamEvent,
    ToolCallPart,
    Usage,
    UsageUpdated,
    Warning,
    WarningCode,
    WarningRaised,
)

TextKind = Literal["text", "reasoning", "refusal"]


class OpenPart:
    """A part that is being written. Made by EventWriter.open and EventWriter.open_tool_call.

    Attributes:
        index: index of the part in the message.
        opaque_state: the provider's state; may be set until the part is closed.
        citations: sources of a text part; may be extended until the part is closed.
        redacted: whether a reasoning part's text was withheld; may be set until it is closed.
        incomplete: whether a tool call must not be run; may be set until it is closed.
    """

    __slots__ = (
        "_call_id", "_chunks", "_kind", "_name", "_sent",
        "citations", "closed", "incomplete", "index", "opaque_state", "redacted",
    )  # fmt: skip

    def __init__(self, index: int, kind: str, call_id: str = "", name: str = "") -> None:
        self.index = index
        self.opaque_state: OpaqueState | None = None
        self.citations: list[Citation] = []
        self.redacted = False
        self.incomplete = False
        self.closed = False
        self._kind = kind
        self._call_id = call_id
        self._name = name
        self._chunks: list[str] = []
        self._sent = 0  # how many chunks have gone into deltas

    @property
    def text(self) -> str:
        """The text, or a tool call's arguments, so far."""
        return "".join(self._chunks)

    def _put(self, part: Part, text: str) -> None:
        """Write the part, with a text, into an empty one."""
        if self._kind == "text":
            part.text.text = text
            if text and self.citations:
                part.text.citations.extend(self.citations)
        elif self._kind == "reasoning":
            part.reasoning.text = text
            part.reasoning.redacted = self.redacted
        elif self._kind == "refusal":
            part.refusal.text = text
        else:
            part.tool_call.id = self._call_id
            part.tool_call.name = self._name
            part.tool_call.arguments_json = text
            part.tool_call.incomplete = self.incomplete

    def _delta(self) -> StreamEvent:
        chunks = self._chunks[self._sent :]
        self._sent = len(self._chunks)
        text = chunks[0] if len(chunks) == 1 else "".join(chunks)
        event = StreamEvent()
        delta = event.part_delta
        delta.part_index = self.index
        if self._kind == "text":
            delta.text = text
        elif self._kind == "reasoning":
            delta.reasoning = text
        elif self._kind == "refusal":
            delta.refusal = text
        else:
            delta.arguments_json = text
        return event


class EventWriter:
    """Writes the events of one generation.

    Attributes:
        started: whether `start` was called.
        model: the model, as it names itself; empty before the start.
        finished: whether `finish` was called.
        has_content: whether any part was begun; from then on a failed attempt can't be repeated.
    """

    def __init__(self) -> None:
        self.started = False
        self.model = ""
        self.finished = False
        self._events: list[StreamEvent] = []
        self._parts: list[OpenPart | None] = []  # None: the part came whole
        self._dirty: list[OpenPart] = []  # have chunks that no delta holds yet

    @property
    def has_content(self) -> bool:
        return bool(self._parts)

    def start(self, response_id: str, model: str, provider: str, created: float = 0.0) -> None:
        """The model begins to answer.

        Args:
            response_id: the provider's id of the response.
            model: the model, as it names itself.
            provider: the provider or backend.
            created: when the answer was begun, in seconds since the epoch. Default: now.
        """
        self.started = True
        self.model = model
        header = GenerationStarted(response_id=response_id, model=model, provider=provider)
        header.create_time.FromNanoseconds(int((created or time.time()) * 1e9))
        self._events.append(StreamEvent(started=header))

    def open(self, kind: TextKind) -> OpenPart:
        """Begin a part of text, reasoning or refusal."""
        return self._opened(OpenPart(len(self._parts), kind))

    def open_tool_call(self, call_id: str, name: str) -> OpenPart:
        """Begin a tool call."""
        return self._opened(OpenPart(len(self._parts), "tool_call", call_id, name))

    def append(self, part: OpenPart, text: str) -> None:
        """Append text, or a fragment of a tool call's arguments, to an open part."""
        if not text:
            return
        if len(part._chunks) == part._sent:
            self._dirty.append(part)
        part._chunks.append(text)

    def close(self, part: OpenPart) -> None:
        """Complete a part. Closing it twice does nothing."""
        if part.closed:
            return
        self._flush()
        part.closed = True
        if part._kind == "tool_call" and (part.incomplete or not _is_object(part.text)):
            part.incomplete = True
            self._warn_of_call(part._name)
        event = StreamEvent()
        finished = event.part_finished
        finished.part_index = part.index
        part._put(finished.part, part.text)
        if part.opaque_state is not None:
            finished.part.opaque_state.CopyFrom(part.opaque_state)
        self._events.append(event)

    def add(self, part: Part) -> None:
        """A part that came whole, without deltas."""
        self._flush()
        call = part.tool_call
        if part.HasField("tool_call") and not _is_object(call.arguments_json):
            call.incomplete = True
            self._warn_of_call(call.name)
        index = len(self._parts)
        self._parts.append(None)
        start = PartStarted(part_index=index, part=_emptied(part))
        self._events.append(StreamEvent(part_started=start))
        finished = PartFinished(part_index=index, part=part)
        self._events.append(StreamEvent(part_finished=finished))

    def usage(self, usage: Usage) -> None:
        """Usage so far."""
        self._flush()
        self._events.append(StreamEvent(usage_updated=UsageUpdated(usage=usage)))

    def warn(self, code: WarningCode.ValueType, field: str, message: str) -> None:
        """Something that the caller should know."""
        warning = Warning(code=code, field=field, message=message)
        self._events.append(StreamEvent(warning_raised=WarningRaised(warning=warning)))

    def finish(
        self,
        reason: FinishReason.ValueType,
        raw_reason: str = "",
        *,
        stop_sequence: str | None = None,
        usage: Usage | None = None,
        cost: Cost | None = None,
    ) -> None:
        """End the generation. Parts that are still open are closed, in order."""
        for part in self._parts:
            if part is not None:
                self.close(part)
        self.finished = True
        finished = GenerationFinished(
            finish_reason=reason,
            raw_finish_reason=raw_reason,
            stop_sequence=stop_sequence,
            usage=usage,
            cost=cost,
        )
        self._events.append(StreamEvent(finished=finished))

    def take(self) -> list[StreamEvent]:
        """What has been written since the last call; may be empty."""
        self._flush()
        events, self._events = self._events, []
        return events

    def _warn_of_call(self, name: str) -> None:
        self.warn(
            WarningCode.WARNING_CODE_INVALID_OUTPUT,
            "",
            f"the call of {name} was cut off, or its arguments are no JSON object; it must not "
            "be run",
        )

    def _opened(self, part: OpenPart) -> OpenPart:
        self._flush()
        self._parts.append(part)
        event = StreamEvent()
        event.part_started.part_index = part.index
        part._put(event.part_started.part, "")
        self._events.append(event)
        return part

    def _flush(self) -> None:
        for part in self._dirty:
            self._events.append(part._delta())
        self._dirty.clear()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_no_json), dict)
    except (ValueError, RecursionError):
        return False


def _no_json(word: str) -> Any:
    raise ValueError(word)  # NaN and Infinity


def _emptied(part: Part) -> Part:
    """The part as a PartStarted event shows it: its kind, and a tool call's id and name."""
    kind = part.WhichOneof("content")
    if kind == "tool_call":
        return Part(tool_call=ToolCallPart(id=part.tool_call.id, name=part.tool_call.name))
    started = Part()
    if kind is not None:
        getattr(started, kind).SetInParent()
    return started
