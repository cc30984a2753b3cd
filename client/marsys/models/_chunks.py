"""Stream events -> the chunks that `stream` yields, and the whole response at the end."""

from __future__ import annotations

from typing import Any

from marsys.models._errors import truncated
from marsys.models._facts import attempt_facts, log_attempt, log_success, log_warning, usage_facts
from marsys.models._parts import call_dict
from marsys.models.response import AttributeDict, attribute_call, finish_word, harmonize, image_fact
from marsys.stream import Fold, StreamError
from marsys.v1 import Part, StreamEvent, StreamGenerateResponse, TurnEvents


class ChunkReader:
    """Turns one generation's messages into chunks.

    Args:
        max_retries: most retries that the service makes, for the log.
    """

    def __init__(self, max_retries: int) -> None:
        self._fold = Fold()
        self._max_retries = max_retries
        self._with_deltas: set[int] = set()
        self._length = 0

    @property
    def finished(self) -> bool:
        """Whether the terminal event has come."""
        return self._fold.finished

    @property
    def length(self) -> int:
        """Characters of text that have come."""
        return self._length

    def read(self, message: StreamGenerateResponse | TurnEvents) -> list[AttributeDict]:
        """The chunks of a message; may be none.

        Raises:
            ModelAPIError: the events break the rules of the contract.
        """
        chunks = []
        for event in message.events:
            try:
                self._fold.add(event)
            except StreamError as error:
                raise truncated(str(error), self._length) from None
            chunk = self._chunk(event)
            if chunk is not None:
                chunks.append(chunk)
        return chunks

    def end(self) -> None:
        """The stream has ended.

        Raises:
            ModelAPIError: its terminal event did not come.
        """
        if not self.finished:
            raise truncated("it ended before its terminal event", self._length)

    def _chunk(self, event: StreamEvent) -> AttributeDict | None:
        kind = event.WhichOneof("event")
        if kind == "part_delta":
            return self._delta(event)
        if kind == "part_finished":
            finished = event.part_finished
            return self._whole(finished.part_index, finished.part)
        if kind == "usage_updated":
            return new_chunk("usage", usage=AttributeDict(usage_facts(event.usage_updated.usage)))
        if kind == "finished":
            log_success(self._fold.response.attempts)
            response = harmonize(self._fold.result())
            reason = finish_word(event.finished.finish_reason)
            return new_chunk(
                "done", finish_reason=reason, usage=response["usage"], response=response
            )
        if kind == "warning_raised":
            log_warning(event.warning_raised.warning)
        elif kind == "attempt_failed":
            log_attempt(attempt_facts(event.attempt_failed.attempt), self._max_retries)
        return None

    def _delta(self, event: StreamEvent) -> AttributeDict | None:
        delta = event.part_delta
        self._with_deltas.add(delta.part_index)
        kind = delta.WhichOneof("delta")
        if kind == "reasoning":
            return new_chunk("thinking", thinking=delta.reasoning, index=delta.part_index)
        if kind in ("text", "refusal"):
            return self._text(getattr(delta, kind), delta.part_index)
        return None  # arguments: a tool call is shown whole, so that no half of one is ever run

    def _whole(self, index: int, part: Part) -> AttributeDict | None:
        kind = part.WhichOneof("content")
        if kind == "tool_call":
            if part.tool_call.incomplete:
                return None
            call = attribute_call(call_dict(part.tool_call))
            return new_chunk("tool_call", tool_calls=[call], index=index)
        if kind == "media":
            return new_chunk("image", images=[image_fact(part.media)], index=index)
        if index in self._with_deltas:
            return None
        if kind == "reasoning" and part.reasoning.text:
            return new_chunk("thinking", thinking=part.reasoning.text, index=index)
        if kind in ("text", "refusal") and getattr(part, kind).text:
            return self._text(getattr(part, kind).text, index)
        return None

    def _text(self, text: str, index: int) -> AttributeDict:
        self._length += len(text)
        return new_chunk("text", content=text, index=index)


def new_chunk(kind: str, **facts: Any) -> AttributeDict:
    """A chunk of a kind, with the keys that all chunks have."""
    chunk = AttributeDict(
        type=kind,
        content="",
        thinking="",
        tool_calls=[],
        index=None,
        finish_reason=None,
        usage=None,
    )
    chunk.update(facts)
    return chunk
