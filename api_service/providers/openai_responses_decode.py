"""OpenAI Responses: answers, whole or streamed -> events."""

from __future__ import annotations

from typing import Any, NoReturn

from api_service.providers.codec import Upstream
from api_service.providers.error_body import ErrorBody, error_of
from api_service.providers.error_table import body_error
from api_service.providers.json_text import (
    JsonObject,
    count_of,
    list_of,
    object_of,
    read_json,
    text_of,
)
from api_service.providers.openai_responses_items import Growth, OutputItems
from api_service.providers.openai_responses_state import provider_part
from api_service.providers.openai_responses_usage import usage_of
from api_service.providers.sse import SseEvent, SseParser, SseTooLarge
from marsys.v1 import ErrorReason, FinishReason
from serving.errors import ServiceError, service_error
from serving.event_writer import EventWriter

_F = FinishReason
_INCOMPLETE = {
    "max_output_tokens": _F.FINISH_REASON_LENGTH,
    "max_tokens": _F.FINISH_REASON_LENGTH,
    "content_filter": _F.FINISH_REASON_CONTENT_FILTER,
}
# Finish reasons with which an answer may be empty.
_MAY_BE_EMPTY = (_F.FINISH_REASON_LENGTH, _F.FINISH_REASON_CONTENT_FILTER)
# Events after which nothing comes -> the status that they stand for.
_LAST = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_COMPLETED = ("completed", "complete")
_FAILED = ("failed", "cancelled")
_UNFINISHED = ("queued", "in_progress")
# Events by which an item grows -> what of it, and the key of its place in the item.
_DELTAS: dict[str, tuple[Growth, str]] = {
    "response.output_text.delta": ("text", "content_index"),
    "response.refusal.delta": ("refusal", "content_index"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index"),
    "response.reasoning_text.delta": ("content", "content_index"),
    "response.function_call_arguments.delta": ("arguments", ""),
}
# Events that tell the whole of it -> what of it, its place, and the key of the text.
_WHOLES: dict[str, tuple[Growth, str, str]] = {
    "response.output_text.done": ("text", "content_index", "text"),
    "response.refusal.done": ("refusal", "content_index", "refusal"),
    "response.function_call_arguments.done": ("arguments", "", "arguments"),
}
_LAST_TIMESTAMP = 253402300799  # the end of year 9999


class ResponsesDecoder:
    """Decodes one answer into an EventWriter. See Decoder."""

    def __init__(self, upstream: Upstream, writer: EventWriter) -> None:
        self.done = False
        self._upstream = upstream
        self._writer = writer
        self._sse = SseParser()
        self._items = OutputItems(writer, self._malformed)
        self._indexes: dict[str, int] = {}  # item id -> index
        self._last = 0  # the index told last

    def decode(self, body: bytes) -> None:
        """See Decoder.decode."""
        try:
            answer = read_json(body)
        except ValueError:
            self._malformed("its answer is no JSON")
        self._refuse_error(answer)
        if not isinstance(answer, dict) or not isinstance(answer.get("output"), list):
            self._malformed("its answer has no output")
        self._finish(answer, "completed")

    def feed(self, chunk: bytes) -> None:
        """See Decoder.feed."""
        try:
            events = self._sse.feed(chunk)
        except SseTooLarge as error:
            self._malformed(str(error))
        for event in events:
            self._event(event)

    def end(self) -> None:
        """See Decoder.end."""
        for event in self._sse.end():
            self._event(event)
        if not self._writer.finished:
            self._malformed("its stream ended before its end")

    def _event(self, event: SseEvent) -> None:
        data = event.data.strip()
        if self.done or not data:
            return
        if data == b"[DONE]":
            self.done = True
            return
        try:
            value = read_json(data)
        except ValueError:
            self._malformed("an event of its stream is no JSON")
        if not isinstance(value, dict):
            self._malformed("an event of its stream is no object")
        kind = text_of(value.get("type")) or event.name.decode("utf-8", "replace")
        if kind == "error" or not kind or (value.get("error") and kind not in _LAST):
            self._refuse_error(value, named=kind == "error")
        response = value.get("response")
        if isinstance(response, dict):
            self._start(response)
        if kind in _LAST:
            self._finish(object_of(response) or value, _LAST[kind])
        else:
            self._progress(kind, value)

    def _progress(self, kind: str, event: JsonObject) -> None:
        """What an event tells of an item. Other events tell what comes with an item's end."""
        items = self._items
        if kind in _DELTAS:
            what, place = _DELTAS[kind]
            index, at = self._index(event), count_of(event.get(place)) or 0
            items.grows(index, what, at, text_of(event.get("delta")))
        elif kind in _WHOLES:
            what, place, key = _WHOLES[kind]
            index, at = self._index(event), count_of(event.get(place)) or 0
            items.told(index, what, at, text_of(event.get(key)))
        elif kind == "response.output_item.added":
            items.added(self._index(event), object_of(event.get("item")))
        elif kind == "response.output_item.done":
            items.done(self._index(event), object_of(event.get("item")))

    def _index(self, event: JsonObject) -> int:
        """Index of the item that an event tells of. A part is about to begin, perhaps."""
        self._start({})
        item_id = text_of(event.get("item_id")) or text_of(object_of(event.get("item")).get("id"))
        index = count_of(event.get("output_index"))
        if index is None:
            index = self._indexes.get(item_id, len(self._indexes)) if item_id else self._last
        if item_id:
            self._indexes.setdefault(item_id, index)
        self._last = index
        return index

    def _start(self, response: JsonObject) -> None:
        if self._writer.started:
            return
        created = count_of(response.get("created_at")) or 0
        response_id = text_of(response.get("id"))
        self._items.seed = f"{response_id}:{created}"
        self._writer.start(
            response_id,
            text_of(response.get("model")) or self._upstream.model,
            self._upstream.row.name,
            created if created <= _LAST_TIMESTAMP else 0,
        )

    def _finish(self, response: JsonObject, presumed: str) -> None:
        """The answer is complete.

        Args:
            response: the whole response.
            presumed: its status, where it doesn't say so itself.
        """
        status = text_of(response.get("status")) or presumed
        self._refuse_unfinished(response, status)
        self._start(response)
        self._items.finish(list_of(response.get("output")), status)
        reason, raw = self._reason(response, status)
        writer = self._writer
        if not writer.has_content and reason not in _MAY_BE_EMPTY:
            raise self._error(
                ErrorReason.ERROR_REASON_EMPTY_COMPLETION, "ended with no usable content"
            )
        self._tell_about(response)
        usage = response.get("usage")
        self.done = True
        writer.finish(reason, raw, usage=usage_of(usage) if isinstance(usage, dict) else None)

    def _reason(self, response: JsonObject, status: str) -> tuple[FinishReason.ValueType, str]:
        """Why the model stopped, and the provider's word for it."""
        if status == "incomplete":
            raw = text_of(object_of(response.get("incomplete_details")).get("reason")) or status
            return _INCOMPLETE.get(raw, _F.FINISH_REASON_OTHER), raw
        if status not in _COMPLETED:
            return _F.FINISH_REASON_OTHER, status
        if self._items.calls:
            return _F.FINISH_REASON_TOOL_CALLS, status
        if self._items.refused:
            return _F.FINISH_REASON_CONTENT_FILTER, status
        return _F.FINISH_REASON_STOP, status

    def _tell_about(self, response: JsonObject) -> None:
        """What the provider says about its answer, where it says anything."""
        moderation = response.get("moderation")
        if isinstance(moderation, dict) and moderation:
            self._writer.add(provider_part("moderation", moderation))
        for found in map(object_of, list_of(response.get("content_filters"))):  # Azure
            if found.get("blocked"):
                self._writer.add(provider_part("content_filters", found))

    def _refuse_unfinished(self, response: JsonObject, status: str) -> None:
        if status in _FAILED or response.get("error"):
            error = error_of(response) if response.get("error") else None
            words = f"its response has {status}" if status == "failed" else "it was cancelled"
            raise ServiceError(body_error(self._upstream, error or ErrorBody(message=words)))
        if status in _UNFINISHED:
            raise service_error(
                ErrorReason.ERROR_REASON_INVALID_REQUEST,
                f"{self._upstream.row.name} is still at work: the response is {status}. Answers "
                "in the background can be had as a stream only",
                field='provider_options_json["background"]',
                provider=self._upstream.row.name,
                model=self._upstream.model,
            )

    def _refuse_error(self, value: Any, named: bool = False) -> None:
        """Raise where an answer or an event is an error.

        Args:
            value: the answer or event.
            named: whether it calls itself an error.
        """
        if isinstance(value, dict) and isinstance(value.get("output"), list):
            return
        plain = value
        if named and not value.get("error"):  # the type says nothing but that it is an error
            plain = {key: item for key, item in value.items() if key != "type"}
        error = error_of(plain)
        if error is None and named:
            error = ErrorBody(message="an error without words")
        if error is not None:
            raise ServiceError(body_error(self._upstream, error))

    def _malformed(self, what: str) -> NoReturn:
        raise self._error(ErrorReason.ERROR_REASON_MALFORMED_RESPONSE, f"can't be read: {what}")

    def _error(self, reason: ErrorReason.ValueType, what: str) -> ServiceError:
        name = self._upstream.row.name
        return service_error(
            reason, f"the answer of {name} {what}", provider=name, model=self._upstream.model
        )
