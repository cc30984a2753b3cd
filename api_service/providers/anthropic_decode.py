"""Anthropic Messages: answers, whole or streamed -> events.

The blocks of a whole answer go the way of streamed ones, so that both give the same events.
"""

from __future__ import annotations

from typing import Any, NoReturn

from api_service.providers.anthropic_blocks import Blocks
from api_service.providers.anthropic_state import ABOUT_ANSWER, ISSUER
from api_service.providers.codec import Upstream
from api_service.providers.error_body import ErrorBody, error_of
from api_service.providers.error_table import body_error
from api_service.providers.json_text import (
    JsonObject,
    count_of,
    dump_json,
    object_of,
    read_json,
    text_of,
)
from api_service.providers.sse import SseEvent, SseParser, SseTooLarge
from marsys.v1 import (
    ErrorReason,
    FinishReason,
    Part,
    ProviderPart,
    Usage,
    WarningCode,
)
from serving.errors import ServiceError, service_error
from serving.event_writer import EventWriter

_F = FinishReason
_FINISH = {
    "": _F.FINISH_REASON_STOP,
    "end_turn": _F.FINISH_REASON_STOP,
    "stop_sequence": _F.FINISH_REASON_STOP,
    "tool_use": _F.FINISH_REASON_TOOL_CALLS,
    "max_tokens": _F.FINISH_REASON_LENGTH,
    "model_context_window_exceeded": _F.FINISH_REASON_LENGTH,
    "refusal": _F.FINISH_REASON_CONTENT_FILTER,
    "pause_turn": _F.FINISH_REASON_PAUSE,
    "compaction": _F.FINISH_REASON_PAUSE,
}
_MAY_BE_EMPTY = (_F.FINISH_REASON_LENGTH, _F.FINISH_REASON_PAUSE)
_RETRY_EMPTY = 5.0  # seconds


class AnthropicDecoder:
    """Decodes one answer into an EventWriter. See Decoder."""

    def __init__(self, upstream: Upstream, writer: EventWriter) -> None:
        self.done = False
        self._upstream = upstream
        self._writer = writer
        self._sse = SseParser()
        self._blocks = Blocks(writer, upstream.json_mode, self._warn)
        self._usage: JsonObject = {}
        self._about: JsonObject = {}  # what the answer says about itself
        self._stop_reason = ""
        self._stop_sequence = ""
        self._warned: set[str] = set()

    def decode(self, body: bytes) -> None:
        """See Decoder.decode."""
        try:
            answer = read_json(body)
        except ValueError:
            self._malformed("it is no JSON")
        self._refuse_error(answer)
        if not isinstance(answer, dict) or not isinstance(answer.get("content"), list):
            self._malformed("it has no content")
        self._start(answer)
        for index, block in enumerate(answer["content"]):
            self._check(isinstance(block, dict) and self._blocks.begin(index, block))
            self._blocks.end(index)
        self._stopped(answer)
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
        if not self.done:
            self._malformed("its stream ended before its end")

    def _event(self, event: SseEvent) -> None:
        data = event.data.strip()
        if self.done or not data:
            return
        try:
            value = read_json(data)
        except ValueError:
            self._malformed("an event of its stream is no JSON")
        if not isinstance(value, dict):
            self._malformed("an event of its stream is no object")
        self._refuse_error(value, event.name == b"error")
        self._take(value)

    def _take(self, event: JsonObject) -> None:
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start":
            self._start(object_of(event.get("message")))
        elif kind == "message_delta":
            self._add_usage(event.get("usage"))
            self._stopped(object_of(event.get("delta")))
            self._note(event)
        elif kind == "message_stop":
            self._finish()
        elif kind in ("content_block_start", "content_block_delta", "content_block_stop"):
            if not isinstance(index, int) or not self._writer.started:
                self._malformed("a block in its stream has no place")
            if kind == "content_block_start":
                self._check(self._blocks.begin(index, object_of(event.get("content_block"))))
            elif kind == "content_block_delta":
                self._check(self._blocks.delta(index, object_of(event.get("delta"))))
            else:
                self._check(self._blocks.end(index))
        # Pings, and events that came later than this was written, are passed over.

    def _start(self, message: JsonObject) -> None:
        if self._writer.started:
            self._malformed("it begins twice")
        response_id = text_of(message.get("id"))
        self._blocks.seed = response_id
        self._writer.start(
            response_id,
            text_of(message.get("model")) or self._upstream.model,
            self._upstream.row.name,
        )
        self._add_usage(message.get("usage"))
        self._note(message)

    def _stopped(self, message: JsonObject) -> None:
        self._stop_reason = text_of(message.get("stop_reason")) or self._stop_reason
        self._stop_sequence = text_of(message.get("stop_sequence")) or self._stop_sequence
        self._note(message)

    def _note(self, message: JsonObject) -> None:
        """Keep what an answer says about itself."""
        for key in ABOUT_ANSWER:
            value = message.get(key)
            if isinstance(value, dict) and any(value.values()):
                self._about[key] = value

    def _add_usage(self, usage: Any) -> None:
        """Counts are cumulative: later ones replace earlier ones."""
        self._usage |= {key: value for key, value in object_of(usage).items() if value is not None}

    def _finish(self) -> None:
        raw = self._stop_reason
        reason = _FINISH.get(raw, _F.FINISH_REASON_OTHER)
        self._blocks.end_all(complete=reason != _F.FINISH_REASON_LENGTH)
        if reason == _F.FINISH_REASON_STOP and self._blocks.has_calls:
            reason = _F.FINISH_REASON_TOOL_CALLS
        if not self._blocks.has_output and reason not in _MAY_BE_EMPTY:
            raise self._empty(raw)
        for key in sorted(self._about):
            block = ProviderPart(issuer=ISSUER, type=key, payload_json=dump_json(self._about[key]))
            self._writer.add(Part(provider=block))
        self.done = True
        self._writer.finish(
            reason, raw, stop_sequence=self._stop_sequence or None, usage=_usage_of(self._usage)
        )

    def _empty(self, raw: str) -> ServiceError:
        name = self._upstream.row.name
        if raw == "refusal":
            details = object_of(self._about.get("stop_details"))
            told = [text_of(details.get(key)) for key in ("category", "explanation")]
            words = self._upstream.redact(": ".join(filter(None, told)))[:1000]
            error = self._error(
                ErrorReason.ERROR_REASON_REFUSAL,
                f"{name} refused to answer" + (f" ({words})" if words else ""),
            )
        else:
            error = self._error(
                ErrorReason.ERROR_REASON_EMPTY_COMPLETION,
                f"the answer of {name} ended with no usable content",
            )
            # Where the model says that it is done, it says so again.
            error.error.retryable = raw != "end_turn"
            if error.error.retryable:
                error.error.retry_after.FromMilliseconds(int(_RETRY_EMPTY * 1000))
        error.error.provider_code = raw[:200]
        return error

    def _refuse_error(self, value: Any, named: bool = False) -> None:
        """Raise where an answer or an event is, or holds, an error.

        Args:
            value: the answer or event.
            named: whether the stream itself calls it an error.
        """
        if isinstance(value, dict) and value.get("type") != "error" and not value.get("error"):
            if not named:
                return
        elif not isinstance(value, dict):
            return
        error = error_of(value) or ErrorBody(message="an error without words")
        raise ServiceError(body_error(self._upstream, error))

    def _check(self, understood: bool) -> None:
        if not understood:
            self._malformed("a block in it can't be read")

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._writer.warn(WarningCode.WARNING_CODE_UNKNOWN_OUTPUT, "", f"{key[:80]}: {text}")

    def _malformed(self, what: str) -> NoReturn:
        raise self._error(
            ErrorReason.ERROR_REASON_MALFORMED_RESPONSE,
            f"the answer of {self._upstream.row.name} can't be read: {what}",
        )

    def _error(self, reason: ErrorReason.ValueType, text: str) -> ServiceError:
        name = self._upstream.row.name
        return service_error(reason, text, provider=name, model=self._upstream.model)


def _usage_of(usage: JsonObject) -> Usage | None:
    """The tokens: Anthropic counts those read from and written to a cache apart."""
    if not usage:
        return None
    given = count_of(usage.get("input_tokens"))
    written = count_of(usage.get("cache_creation_input_tokens"))
    read = count_of(usage.get("cache_read_input_tokens"))
    output = count_of(usage.get("output_tokens"))
    prompt = None if given is None else given + (written or 0) + (read or 0)
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        total_tokens=None if prompt is None or output is None else prompt + output,
        reasoning_tokens=count_of(
            object_of(usage.get("output_tokens_details")).get("thinking_tokens")
        ),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
