"""Google generateContent: answers, whole or streamed -> events.

A whole answer is decoded as a stream of one chunk, so that both give the same events.
"""

from __future__ import annotations

import datetime
from typing import Any, NoReturn

from api_service.providers.codec import Upstream
from api_service.providers.error_body import ErrorBody, error_of
from api_service.providers.google_errors import google_body_error
from api_service.providers.google_finish import MAY_BE_EMPTY, finish_reason, no_content, refusal
from api_service.providers.google_grounding import grounding_citations, source_citations
from api_service.providers.google_parts import GoogleParts, provider_part
from api_service.providers.google_state import ABOUT_ANSWER
from api_service.providers.google_usage import usage_of
from api_service.providers.json_text import JsonObject, list_of, object_of, read_json, text_of
from api_service.providers.sse import SseEvent, SseParser, SseTooLarge
from marsys.v1 import ErrorReason, FinishReason, Usage, WarningCode
from serving.errors import ServiceError, service_error
from serving.event_writer import EventWriter

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""Largest chunk of a stream, in bytes: an image comes as one."""

_F = FinishReason
_KNOWN = frozenset(
    {
        "candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime",
    }
)  # fmt: skip
# Keys of a candidate that are told in other ways, or say nothing that a caller would miss.
_KNOWN_OF_CANDIDATE = frozenset(
    {
        "content", "finishReason", "finishMessage", "index", "tokenCount", "avgLogprobs",
        "groundingAttributions",
    }
)  # fmt: skip
_FINISHES_BY_ITSELF = (
    _F.FINISH_REASON_STOP, _F.FINISH_REASON_LENGTH, _F.FINISH_REASON_TOOL_CALLS,
)  # fmt: skip


class GoogleDecoder:
    """Decodes one answer into an EventWriter. See Decoder."""

    def __init__(self, upstream: Upstream, writer: EventWriter) -> None:
        self.done = False
        self._upstream = upstream
        self._writer = writer
        self._sse = SseParser(MAX_EVENT_BYTES, bare_json=True)
        self._parts = GoogleParts(writer, self._warn)
        self._about: dict[str, Any] = {}  # what the answer says about itself
        self._finish_reason: str | None = None
        self._finish_message = ""
        self._usage: Usage | None = None
        self._warned: set[str] = set()

    def decode(self, body: bytes) -> None:
        """See Decoder.decode."""
        try:
            answer = read_json(body)
        except ValueError:
            self._malformed("its answer is no JSON")
        self._take_all(answer)
        if not self._writer.started:
            self._malformed("it is no generated content")
        if self._finish_reason is None:
            self._finish_reason = ""  # a whole answer has ended, whatever it forgets to say
        self._finish()

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
        if self._finish_reason is None:
            self._malformed("its stream ended before its end")
        self._finish()

    def _event(self, event: SseEvent) -> None:
        data = event.data.strip()
        if self.done or not data:
            return
        if data == b"[DONE]":  # Google sends none; what stands before it may
            self.done = True
            return
        try:
            value = read_json(data)
        except ValueError:
            self._malformed("a chunk of its stream is no JSON")
        self._take_all(value)

    def _take_all(self, value: Any) -> None:
        """Take a chunk, or an array of them."""
        self._refuse_error(value)
        for chunk in value if isinstance(value, list) else [value]:
            self._refuse_error(chunk)
            if not isinstance(chunk, dict):
                self._malformed("it is no object")
            self._take(chunk)

    def _take(self, chunk: JsonObject) -> None:
        if not self._writer.started and chunk.keys() & _KNOWN:
            self._start(chunk)
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict):
            self._usage = usage_of(usage)
        feedback = object_of(chunk.get("promptFeedback"))
        if feedback.get("blockReason"):
            raise refusal(self._upstream, feedback)
        for position, candidate in enumerate(list_of(chunk.get("candidates"))):
            if isinstance(candidate, dict):
                self._candidate(candidate, position)
        for key in sorted(chunk.keys() - _KNOWN):
            if chunk[key]:
                self._warn(key, "its meaning is unknown, it is left out")

    def _start(self, chunk: JsonObject) -> None:
        response_id, created = text_of(chunk.get("responseId")), text_of(chunk.get("createTime"))
        self._parts.seed = f"{response_id}:{created}"
        self._writer.start(
            response_id,
            text_of(chunk.get("modelVersion")) or self._upstream.model,
            self._upstream.row.name,
            _seconds(created),
        )

    def _candidate(self, candidate: JsonObject, position: int) -> None:
        if (candidate.get("index") or position) != 0:
            self._warn("candidates", "only the first of several answers is kept")
            return
        content = candidate.get("content")
        for part in list_of(object_of(content).get("parts")):
            if not isinstance(part, dict):
                self._malformed("a part of it is no object")
            try:
                self._parts.add(part)
            except ValueError as error:
                self._malformed(str(error))
        reason = candidate.get("finishReason")
        if isinstance(reason, str):
            self._finish_reason = reason
        self._finish_message = text_of(candidate.get("finishMessage")) or self._finish_message
        for key in candidate.keys() - _KNOWN_OF_CANDIDATE:
            value = candidate[key]
            if key in ABOUT_ANSWER:
                self._note(key, value)
            elif value:
                self._warn(key, "its meaning is unknown, it is left out")

    def _note(self, key: str, value: Any) -> None:
        """Keep what an answer says about itself; a later chunk says it more fully."""
        if key == "safetyRatings" and not any(
            object_of(rating).get("blocked") for rating in list_of(value)
        ):
            return  # nothing happened
        if isinstance(value, dict | list | str) and value:
            self._about[key] = value

    def _finish(self) -> None:
        raw = self._finish_reason or ""
        reason = finish_reason(raw)
        self._parts.close()
        if not self._writer.has_content and reason not in MAY_BE_EMPTY:
            raise no_content(self._upstream, raw, self._finish_message)
        if reason == _F.FINISH_REASON_STOP and self._parts.has_calls:
            reason = _F.FINISH_REASON_TOOL_CALLS
        if self._finish_message and reason not in _FINISHES_BY_ITSELF:
            self._warn("finishMessage", self._upstream.redact(self._finish_message)[:1000])
        self._cite()
        for key in sorted(self._about):
            self._writer.add(provider_part(key, self._about[key]))
        self.done = True
        self._writer.finish(reason, raw, usage=self._usage)

    def _cite(self) -> None:
        texts = [part.text for part in self._parts.texts]
        if not texts:
            return
        found = grounding_citations(object_of(self._about.get("groundingMetadata")), texts)
        found += source_citations(object_of(self._about.get("citationMetadata")), texts)
        for index, citation in found:
            self._parts.texts[index].citations.append(citation)

    def _refuse_error(self, value: Any) -> None:
        """Raise where an answer or a chunk is, or holds, an error."""
        if isinstance(value, dict) and value.keys() & _KNOWN and not value.get("error"):
            return
        if isinstance(value, list) and not (value and object_of(value[0]).get("error")):
            return
        error = error_of(value)
        if error is None and isinstance(value, dict) and value.get("error"):
            error = ErrorBody(message="an error without words")
        if error is not None:
            raise ServiceError(google_body_error(self._upstream, error))

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._writer.warn(WarningCode.WARNING_CODE_UNKNOWN_OUTPUT, "", f"{key[:80]}: {text}")

    def _malformed(self, what: str) -> NoReturn:
        name = self._upstream.row.name
        raise service_error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            f"the answer of {name} can't be read: {what}",
            provider=name,
            model=self._upstream.model,
        )


def _seconds(text: str) -> float:
    """A moment such as 2025-06-01T15:23:17.587155Z in seconds since the epoch; 0: unknown."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return max(moment.timestamp(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
