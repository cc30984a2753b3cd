"""What a model writes -> the events of its answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

import jsonschema_rs

from local_inference_service.output import Output
from local_inference_service.parsing import (
    Arguments,
    CallEnded,
    CallStarted,
    Event,
    Parser,
    Reasoning,
    Text,
)
from marsys.v1 import FinishReason, ToolDefinition, Usage, WarningCode
from serving.event_writer import EventWriter, OpenPart, TextKind


class AnswerWriter:
    """Writes one answer.

    Args:
        writer: takes the events.
        parser: reads what the model writes.
        prompt_tokens: of the prompt.
        tools: that the model was offered.
        parallel: whether it may call several.

    Attributes:
        finished: whether the answer is complete; what the model writes after that isn't wanted.
    """

    def __init__(
        self,
        writer: EventWriter,
        parser: Parser,
        prompt_tokens: int,
        tools: Sequence[ToolDefinition],
        parallel: bool,
    ) -> None:
        self.finished = False
        self._writer = writer
        self._parser = parser
        self._prompt_tokens = prompt_tokens
        self._tools = {tool.name: tool for tool in tools}
        self._parallel = parallel
        self._part: OpenPart | None = None
        self._kind = ""
        self._name = ""  # of the open call
        self._ids: set[str] = set()
        self._complete = self._incomplete = 0  # calls
        self._tokens = 0
        self._reasoning_tokens = 0.0

    def take(self, output: Output) -> None:
        """The model went on writing, or ended."""
        if self.finished:
            return
        new, self._tokens = output.tokens - self._tokens, output.tokens
        thought = self._parser.in_reasoning
        events = self._parser.feed(output.text) if output.text else []
        self._reasoning_tokens += new * _share_of_reasoning(events, thought)
        self._write(events)
        if output.finish is not None:
            length = output.finish == FinishReason.FINISH_REASON_LENGTH
            self._write(self._parser.end(cut_off=length))
        if not self.finished and output.finish is not None:
            self._finish(output)

    def _write(self, events: list[Event]) -> None:
        for event in events:
            if self.finished:
                return
            if isinstance(event, Text):
                self._append("text", event.text)
            elif isinstance(event, Reasoning):
                self._append("reasoning", event.text)
            elif isinstance(event, CallStarted):
                self._begin_call(event)
            elif isinstance(event, Arguments):
                assert self._part is not None
                self._writer.append(self._part, event.text)
            else:
                self._end_call(event)

    def _append(self, kind: TextKind, text: str) -> None:
        if self._part is None or self._kind != kind:
            self._close()
            self._part, self._kind = self._writer.open(kind), kind
        self._writer.append(self._part, text)

    def _begin_call(self, event: CallStarted) -> None:
        self._close()
        call_id = event.id
        if not call_id or call_id in self._ids:
            call_id = f"call_{uuid.uuid4().hex[:24]}"
        self._ids.add(call_id)
        self._part, self._kind = self._writer.open_tool_call(call_id, event.name), "call"
        self._name = event.name
        if event.name not in self._tools:
            self._writer.warn(
                WarningCode.WARNING_CODE_INVALID_OUTPUT,
                "tools",
                f"the model called {event.name}, which isn't among the tools",
            )

    def _end_call(self, event: CallEnded) -> None:
        assert self._part is not None
        incomplete = not event.complete or self._breaks_schema(self._part.text)
        self._part.incomplete = incomplete
        self._close()
        if incomplete:
            self._incomplete += 1
            return
        self._complete += 1
        if not self._parallel:
            self._finish(Output(tokens=self._tokens, raw_finish="one call"))

    def _breaks_schema(self, arguments: str) -> bool:
        """Whether the open call's arguments aren't what its tool, a strict one, takes."""
        tool = self._tools.get(self._name)
        if tool is None or not tool.strict:
            return False
        schema = json.loads(tool.parameters_json or "{}")
        if jsonschema_rs.is_valid(schema, json.loads(arguments)):
            return False
        self._writer.warn(
            WarningCode.WARNING_CODE_INVALID_OUTPUT,
            "tools",
            f"the arguments of the call of {tool.name} don't validate against its schema",
        )
        return True

    def _close(self) -> None:
        if self._part is not None:
            self._writer.close(self._part)
        self._part, self._kind = None, ""

    def _finish(self, output: Output) -> None:
        self.finished = True
        reason = output.finish or FinishReason.FINISH_REASON_STOP
        if reason == FinishReason.FINISH_REASON_STOP:
            if self._complete:
                reason = FinishReason.FINISH_REASON_TOOL_CALLS
            elif self._incomplete:
                reason = FinishReason.FINISH_REASON_ERROR
        usage = Usage(
            input_tokens=self._prompt_tokens,
            output_tokens=output.tokens,
            total_tokens=self._prompt_tokens + output.tokens,
        )
        if self._reasoning_tokens:
            usage.reasoning_tokens = round(self._reasoning_tokens)
        if output.cached is not None:
            usage.cache_read_tokens = output.cached
        self._writer.finish(
            reason, output.raw_finish, stop_sequence=output.stop_sequence, usage=usage
        )


def _share_of_reasoning(events: list[Event], thought: bool) -> float:
    """Which share of some new tokens were a thought; where both came, by their characters."""
    sizes = {True: 0, False: 0}
    for event in events:
        if isinstance(event, (Text, Reasoning, Arguments)):
            sizes[isinstance(event, Reasoning)] += len(event.text)
    if not any(sizes.values()):
        return float(thought)
    return sizes[True] / (sizes[True] + sizes[False])
