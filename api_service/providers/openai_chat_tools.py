"""OpenAI Chat Completions: fragments of tool calls -> tool call parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from api_service.providers.json_text import JsonObject, dump_json, object_of, text_of
from api_service.providers.openai_chat_messages import ISSUER, STATE_KEYS
from marsys.v1 import OpaqueState
from serving.event_writer import EventWriter, OpenPart


@dataclass(slots=True)
class _Call:
    index: int | None
    raw_id: str = ""
    part: OpenPart | None = None
    early: list[str] = field(default_factory=list)  # arguments that came before the name
    state: JsonObject = field(default_factory=dict)


class ToolCalls:
    """Groups fragments into calls.

    Servers differ: fragments have an index, or only an id, or neither; calls come in pieces or
    whole; the name may be repeated, the id may be missing, or the same for all.

    Attributes:
        seed: what the ids are made from where the provider gives none.
    """

    def __init__(self, writer: EventWriter) -> None:
        self.seed = ""
        self._writer = writer
        self._calls: list[_Call] = []
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, fragment: JsonObject, position: int | None) -> bool:
        """Take a fragment.

        Args:
            fragment: an element of `tool_calls`.
            position: where it stands in a whole answer, in which each element is a call; None in
                a stream.

        Returns:
            False where it is no function call.
        """
        function = object_of(fragment.get("function"))
        if not function and fragment.get("type", "function") != "function":
            return False
        raw_id, name = text_of(fragment.get("id")), text_of(function.get("name"))
        call = None if position is not None else self._known(fragment, raw_id, name)
        if call is None:
            index = fragment.get("index") if position is None else position
            call = _Call(index if isinstance(index, int) else None, raw_id)
            self._calls.append(call)
        if name and call.part is None:
            self._open(call, raw_id or call.raw_id, name)
        self._append(call, function.get("arguments"))
        for key in STATE_KEYS:
            if fragment.get(key):
                call.state[key] = fragment[key]
        return True

    def close(self, complete: bool) -> bool:
        """Close all calls.

        Args:
            complete: whether the model ended by itself: no arguments then means an empty object.

        Returns:
            False where a call never got its name.
        """
        for call in self._calls:
            if call.part is None:
                return False
            if complete and not call.part.text:
                self._writer.append(call.part, "{}")
            if call.state:
                state = dump_json(call.state).encode()
                call.part.opaque_state = OpaqueState(issuer=ISSUER, data=state)
        return True

    def _known(self, fragment: JsonObject, raw_id: str, name: str) -> _Call | None:
        """The call that a fragment goes on with, or None where it begins one."""
        index = fragment.get("index")
        for call in reversed(self._calls):
            if isinstance(index, int):
                if call.index != index:
                    continue
                # Some servers give every call the index 0.
                other = bool(raw_id and name and call.raw_id and raw_id != call.raw_id)
                return None if other else call
            if raw_id:
                if call.raw_id == raw_id:
                    return call
                continue
            return None if name and call.part is not None else call
        return None

    def _open(self, call: _Call, raw_id: str, name: str) -> None:
        call.raw_id = raw_id
        call_id = raw_id
        if not call_id or call_id in self._ids:
            number = len(self._ids)
            digest = hashlib.sha256(f"{self.seed}:{number}".encode()).hexdigest()[:16]
            call_id = f"call_{digest}_{number}"
        self._ids.add(call_id)
        call.part = self._writer.open_tool_call(call_id, name)
        for text in call.early:
            self._writer.append(call.part, text)

    def _append(self, call: _Call, arguments: object) -> None:
        if isinstance(arguments, dict | list):
            arguments = dump_json(arguments)
        if not isinstance(arguments, str) or not arguments:
            return
        if call.part is None:
            call.early.append(arguments)
        else:
            self._writer.append(call.part, arguments)
