"""OpenAI Chat Completions: answers, whole or streamed -> events.

A whole answer is decoded as a stream of one chunk, so that both give the same events.
"""

from __future__ import annotations

from typing import Any, NoReturn

from api_service.providers.codec import Upstream
from api_service.providers.error_body import ErrorBody, error_of
from api_service.providers.error_table import body_error
from api_service.providers.json_text import (
    JsonObject,
    count_of,
    dump_json,
    list_of,
    object_of,
    read_json,
    text_of,
)
from api_service.providers.openai_chat_audio import SpokenAnswer
from api_service.providers.openai_chat_extras import citation_of, image_of
from api_service.providers.openai_chat_messages import (
    ANNOTATION,
    ISSUER,
    REASONING_KEYS,
    STATE_KEYS,
)
from api_service.providers.openai_chat_reasoning import ReasoningDetails, Thoughts
from api_service.providers.openai_chat_tools import ToolCalls
from api_service.providers.openai_chat_usage import cost_of, usage_of
from api_service.providers.sse import SseEvent, SseParser, SseTooLarge
from marsys.v1 import (
    Citation,
    Cost,
    ErrorReason,
    FinishReason,
    OpaqueState,
    Part,
    ProviderPart,
    Usage,
    WarningCode,
)
from serving.errors import ServiceError, service_error
from serving.event_writer import EventWriter, OpenPart, TextKind

_F = FinishReason
_FINISH = {
    "stop": _F.FINISH_REASON_STOP,
    "eos": _F.FINISH_REASON_STOP,
    "eos_token": _F.FINISH_REASON_STOP,
    "end_turn": _F.FINISH_REASON_STOP,
    "stop_sequence": _F.FINISH_REASON_STOP,
    "": _F.FINISH_REASON_STOP,
    "length": _F.FINISH_REASON_LENGTH,
    "max_tokens": _F.FINISH_REASON_LENGTH,
    "model_length": _F.FINISH_REASON_LENGTH,
    "tool_calls": _F.FINISH_REASON_TOOL_CALLS,
    "function_call": _F.FINISH_REASON_TOOL_CALLS,
    "content_filter": _F.FINISH_REASON_CONTENT_FILTER,
    "refusal": _F.FINISH_REASON_CONTENT_FILTER,
    "error": _F.FINISH_REASON_ERROR,
}
# Finish reasons with which an answer may be empty.
_MAY_BE_EMPTY = (_F.FINISH_REASON_LENGTH, _F.FINISH_REASON_CONTENT_FILTER)

_KNOWN_DELTA_KEYS = frozenset(
    {
        "role", "content", "refusal", "tool_calls", *REASONING_KEYS, "reasoning_details",
        "annotations", "images", "audio", "name", *STATE_KEYS,
    }
)  # fmt: skip
_LAST_TIMESTAMP = 253402300799  # the end of year 9999


class ChatDecoder:
    """Decodes one answer into an EventWriter. See Decoder."""

    def __init__(self, upstream: Upstream, writer: EventWriter) -> None:
        self.done = False
        self._upstream = upstream
        self._writer = writer
        self._sse = SseParser()
        self._texts: dict[TextKind, OpenPart] = {}
        self._tools = ToolCalls(writer)
        self._details = ReasoningDetails()
        self._thoughts = Thoughts()
        self._reasoning_key = ""  # under which the reasoning came
        self._state: JsonObject = {}  # thought signatures of the whole message
        self._spoken = SpokenAnswer()
        self._annotations: list[JsonObject] = []
        self._citations: list[Citation] = []
        self._moderation: Any = None
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._cost: Cost | None = None
        self._warned: set[str] = set()

    def decode(self, body: bytes) -> None:
        """See Decoder.decode."""
        try:
            answer = read_json(body)
        except ValueError:
            self._malformed("its answer is no JSON")
        self._refuse_error(answer)
        choices = object_of(answer).get("choices")
        if not isinstance(choices, list):
            self._malformed("its answer has no choices")
        self._take(answer)
        if choices and self._finish_reason is None:
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
        if self._finish_reason is None and not self.done:
            self._malformed("its stream ended before its end")
        self._finish()

    def _event(self, event: SseEvent) -> None:
        data = event.data.strip()
        if self.done or not data:
            return
        if data == b"[DONE]":
            self.done = True
            return
        try:
            chunk = read_json(data)
        except ValueError:
            self._malformed("a chunk of its stream is no JSON")
        self._refuse_error(chunk, event.name == b"error")
        if not isinstance(chunk, dict):
            self._malformed("a chunk of its stream is no object")
        self._take(chunk)

    def _take(self, chunk: JsonObject) -> None:
        writer = self._writer
        if not writer.started:
            self._start(chunk)
        usage = chunk.get("usage") or object_of(chunk.get("x_groq")).get("usage")
        if isinstance(usage, dict):
            self._usage = usage_of(usage)
            self._cost = cost_of(usage)
        for address in list_of(chunk.get("citations")):  # xAI and Perplexity: addresses only
            if isinstance(address, str) and all(one.uri != address for one in self._citations):
                self._citations.append(Citation(uri=address))
        if chunk.get("moderation"):
            self._moderation = chunk["moderation"]
        for choice in list_of(chunk.get("choices")):
            if isinstance(choice, dict):
                self._choice(choice)

    def _start(self, chunk: JsonObject) -> None:
        created = count_of(chunk.get("created")) or 0
        response_id = text_of(chunk.get("id"))
        self._tools.seed = f"{response_id}:{created}"
        self._writer.start(
            response_id,
            text_of(chunk.get("model")) or self._upstream.model,
            self._upstream.row.name,
            created if created <= _LAST_TIMESTAMP else 0,
        )

    def _choice(self, choice: JsonObject) -> None:
        if choice.get("index") not in (0, None):
            self._warn("choices", "only the first of several answers is kept")
            return
        if choice.get("error"):
            error = error_of(choice) or ErrorBody()
            raise ServiceError(body_error(self._upstream, error))
        whole = choice.get("message")
        if isinstance(whole, dict):
            self._delta(whole, whole=True)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, whole=False)
        if isinstance(choice.get("text"), str):
            self._text("text", choice["text"])
        if choice.get("logprobs"):
            self._warn("logprobs", "probabilities of tokens are left out")
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self._finish_reason = reason

    def _delta(self, delta: JsonObject, whole: bool) -> None:
        self._reasoning(delta)
        content = delta.get("content")
        if isinstance(content, str):
            self._text("text", content)
        elif isinstance(content, list):
            self._content_parts(content, whole)
        if delta.get("audio"):
            self._audio(delta["audio"])
        refusal = delta.get("refusal")
        if isinstance(refusal, str):
            self._text("refusal", refusal)
        for position, call in enumerate(list_of(delta.get("tool_calls"))):
            if isinstance(call, dict) and not self._tools.add(call, position if whole else None):
                self._warn("tool_calls", "a tool call of an unknown kind is left out")
        for image in list_of(delta.get("images")):
            part = image_of(image)
            if part is None:
                self._warn("images", "an image in an unknown form is left out")
            else:
                self._writer.add(part)
        for annotation in list_of(delta.get("annotations")):
            citation = citation_of(annotation)
            if citation is not None:
                self._citations.append(citation)
            elif isinstance(annotation, dict):
                self._annotations.append(annotation)
        if delta.keys() - _KNOWN_DELTA_KEYS:
            for key in sorted(delta.keys() - _KNOWN_DELTA_KEYS):
                if delta[key]:
                    self._warn(key, "its meaning is unknown, it is left out")

    def _reasoning(self, delta: JsonObject) -> None:
        details = delta.get("reasoning_details")
        told = ""
        if isinstance(details, list) and details:
            told = self._details.add(details)
            self._open("reasoning")
        for key in REASONING_KEYS:
            if text := text_of(delta.get(key)):
                self._reasoning_key = key
                told = text
                break
        self._text("reasoning", told)
        for key in STATE_KEYS:
            if delta.get(key):
                self._state[key] = delta[key]
                self._open("reasoning")

    def _content_parts(self, parts: list[Any], whole: bool) -> None:
        for part in map(object_of, parts):
            kind = part.get("type")
            if kind in ("text", "output_text"):
                self._text("text", text_of(part.get("text")))
            elif kind == "refusal":
                self._text("refusal", text_of(part.get("refusal")))
            elif kind == "thinking":
                self._text("reasoning", self._thoughts.add(part, whole))
            elif (image := image_of(part)) is not None:
                self._writer.add(image)
            else:
                self._warn("content", f"a part of type {str(kind)[:40]!r} is left out")

    def _audio(self, audio: object) -> None:
        try:
            self._text("text", self._spoken.add(audio))
        except ValueError as error:
            self._malformed(str(error))

    def _text(self, kind: TextKind, text: str) -> None:
        if text:
            self._writer.append(self._open(kind), text)

    def _open(self, kind: TextKind) -> OpenPart:
        part = self._texts.get(kind)
        if part is None:
            part = self._texts[kind] = self._writer.open(kind)
        return part

    def _finish(self) -> None:
        raw = self._finish_reason or ""
        reason = _FINISH.get(raw, _F.FINISH_REASON_OTHER)
        if not self._tools.close(complete=reason != _F.FINISH_REASON_LENGTH):
            self._malformed("a tool call in its answer has no name")
        self._close_texts()
        writer = self._writer
        sound = self._spoken.part(ISSUER)
        if sound is not None:
            writer.add(sound)
        for annotation in self._annotations:
            writer.add(_provider_part(ANNOTATION, annotation))
        if reason == _F.FINISH_REASON_STOP and self._tools:
            reason = _F.FINISH_REASON_TOOL_CALLS
        elif reason == _F.FINISH_REASON_STOP and "refusal" in self._texts:
            reason = _F.FINISH_REASON_CONTENT_FILTER
        if not writer.has_content and reason not in _MAY_BE_EMPTY:
            raise self._error(
                ErrorReason.ERROR_REASON_EMPTY_COMPLETION, "ended with no usable content"
            )
        if self._moderation is not None:
            writer.add(_provider_part("moderation", self._moderation))
        self.done = True
        writer.finish(reason, raw, usage=self._usage, cost=self._cost)

    def _close_texts(self) -> None:
        reasoning = self._texts.get("reasoning")
        if reasoning is not None:
            state = self._details.state() or self._message_state(reasoning.text)
            if state:
                reasoning.opaque_state = OpaqueState(issuer=ISSUER, data=state)
            reasoning.redacted = not reasoning.text
        if self._citations:
            text = self._texts.get("text")
            if text is not None:
                text.citations.extend(self._citations)
            else:
                self._warn("annotations", "there is no text that they could belong to")

    def _message_state(self, reasoning: str) -> bytes:
        """The keys of the message that go back as they came; empty where there are none."""
        keys = dict(self._state)
        row = self._upstream.row
        if row.reasoning_as_it_came:
            if thoughts := self._thoughts.blocks():
                keys["content"] = thoughts
            elif self._reasoning_key not in ("", row.reasoning_key):
                keys[self._reasoning_key] = reasoning
        return dump_json(keys).encode() if keys else b""

    def _refuse_error(self, value: Any, named: bool = False) -> None:
        """Raise where an answer or a chunk is, or holds, an error.

        Args:
            value: the answer or chunk.
            named: whether the stream itself calls it an error.
        """
        sound = isinstance(value, dict) and "choices" in value and not value.get("error")
        if sound and not named:
            return
        error = error_of(value)
        if error is None and named:
            error = ErrorBody(message="an error without words")
        if error is not None:
            raise ServiceError(body_error(self._upstream, error))

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._writer.warn(WarningCode.WARNING_CODE_UNKNOWN_OUTPUT, "", f"{key[:80]}: {text}")

    def _malformed(self, what: str) -> NoReturn:
        raise self._error(ErrorReason.ERROR_REASON_MALFORMED_RESPONSE, f"can't be read: {what}")

    def _error(self, reason: ErrorReason.ValueType, what: str) -> ServiceError:
        name = self._upstream.row.name
        return service_error(
            reason, f"the answer of {name} {what}", provider=name, model=self._upstream.model
        )


def _provider_part(kind: str, payload: Any) -> Part:
    text = dump_json(payload)
    return Part(provider=ProviderPart(issuer=ISSUER, type=kind, payload_json=text))
