"""Google generateContent: parts of an answer -> parts of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api_service.providers.google_media import media_part
from api_service.providers.google_state import ISSUER, SIGNATURE, is_made, made_id
from api_service.providers.json_text import JsonObject, dump_json, object_of, text_of
from marsys.v1 import OpaqueState, Part, ProviderPart
from serving.event_writer import EventWriter, OpenPart, TextKind

# Keys of a part that tell something about its content.
_AROUND = frozenset({"thought", SIGNATURE, "partMetadata", "mediaResolution", "videoMetadata"})
_CALL_KEYS = frozenset({"id", "name", "args"})


class GoogleParts:
    """Writes the parts of one answer.

    Chunks of text are joined to one part. A part with a signature stays by itself, whatever stands
    beside it: the signature belongs to that very part and goes back with it.

    Args:
        writer: takes the events.
        warn: tells of a key that is left out, and why.

    Attributes:
        seed: what the ids of tool calls are made from where Google gives none.
        texts: the text parts, in order; left open, since sources may be cited for them later.
        has_calls: whether a tool was called.
    """

    def __init__(self, writer: EventWriter, warn: Callable[[str, str], None]) -> None:
        self.seed = ""
        self.texts: list[OpenPart] = []
        self._writer = writer
        self._warn = warn
        self._kind: TextKind = "text"
        self._open: OpenPart | None = None  # what a chunk of text goes on with
        self._ids: set[str] = set()

    @property
    def has_calls(self) -> bool:
        return bool(self._ids)

    def add(self, part: JsonObject) -> None:
        """Take a part.

        Raises:
            ValueError: it is a tool call without a name.
            ServiceError: it is nested too deeply.
        """
        kind = next((key for key in part if key not in _AROUND), SIGNATURE)
        value = part.get(kind)
        if kind == "text" and isinstance(value, str):
            self._text(part, value)
        elif kind == "functionCall" and not object_of(value).keys() - _CALL_KEYS:
            self._call(part, object_of(value))
        elif value is not None:  # an empty part says nothing
            self.close()
            media = None
            if kind == "inlineData" and not part.get("thought"):
                media = media_part(object_of(value))
            if media is None:
                self._writer.add(provider_part(kind, part))
            else:
                self._check_keys(part, {kind, SIGNATURE})
                self._writer.add(Part(media=media, opaque_state=_state(part)))

    def close(self) -> None:
        """What comes next begins a part of its own."""
        if self._open is not None and self._kind == "reasoning":
            self._writer.close(self._open)
        self._open = None

    def _text(self, part: JsonObject, text: str) -> None:
        state = _state(part)
        kind: TextKind = "reasoning" if part.get("thought") is True else "text"
        self._check_keys(part, {"text", "thought", SIGNATURE})
        if not text and state is None:
            return
        if state is not None or kind != self._kind:
            self.close()
        self._kind = kind
        if self._open is None:
            self._open = self._writer.open(kind)
            if kind == "text":
                self.texts.append(self._open)
        self._writer.append(self._open, text)
        if state is not None:
            self._open.opaque_state = state
            self._open.redacted = kind == "reasoning" and not text
            self.close()

    def _call(self, part: JsonObject, call: JsonObject) -> None:
        name, args = text_of(call.get("name")), call.get("args")
        if not name:
            raise ValueError("a tool call in it has no name")
        arguments = dump_json({} if args is None else args)
        self._check_keys(part, {"functionCall", SIGNATURE})
        self.close()
        call_id = text_of(call.get("id"))
        if not call_id or call_id in self._ids or is_made(call_id):
            call_id = made_id(self.seed, len(self._ids))
        self._ids.add(call_id)
        opened = self._writer.open_tool_call(call_id, name)
        self._writer.append(opened, arguments)
        opened.opaque_state = _state(part)
        self._writer.close(opened)

    def _check_keys(self, part: JsonObject, known: set[str]) -> None:
        if part.keys() - known:
            for key in sorted(part.keys() - known):
                self._warn(key, "its meaning is unknown, it is left out")


def provider_part(kind: str, payload: Any) -> Part:
    """A block for which the contract has no words.

    Raises:
        ServiceError: it is nested too deeply.
    """
    return Part(provider=ProviderPart(issuer=ISSUER, type=kind, payload_json=dump_json(payload)))


def _state(part: JsonObject) -> OpaqueState | None:
    signature = text_of(part.get(SIGNATURE))
    return OpaqueState(issuer=ISSUER, data=signature.encode()) if signature else None
