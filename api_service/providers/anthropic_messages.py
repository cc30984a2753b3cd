"""Anthropic Messages: messages of the contract -> `system` and `messages`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from api_service.providers.anthropic_media import FILES_BETA, media_block
from api_service.providers.anthropic_state import ABOUT_ANSWER, ISSUER, KEPT_KEYS
from api_service.providers.cache_mark import cache_control
from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject, read_json
from api_service.providers.unsupported import Refusals
from marsys.v1 import Message, Part, Role, ToolResultPart
from serving.errors import invalid

_Blocks = list[Any]
_MOST_MARKS = 4


class TurnEncoder:
    """Encodes the messages of one request.

    Args:
        upstream: whom they go to.
        family: what the model takes.
        refusals: what to do with what it doesn't take.

    Attributes:
        betas: betas that the content needs.
        marks: how many cache marks are set.
    """

    def __init__(self, upstream: Upstream, family: Family, refusals: Refusals) -> None:
        self.betas: list[str] = []
        self.marks = 0
        self._row = upstream.row
        self._family = family
        self._refusals = refusals
        self._system: _Blocks = []
        self._turns: list[JsonObject] = []

    def put(self, body: JsonObject, messages: Sequence[Message]) -> None:
        """Put the messages into the body. Turns of one role that follow each other are merged.

        Raises:
            ServiceError: content can't be expressed.
        """
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.HasField("name"):
                self._refusals.refuse(f"{path}.name", f"{self._row.name} takes no names")
            if message.role == Role.ROLE_SYSTEM:
                self._put_system(message, path)
            elif message.role == Role.ROLE_USER:
                self._add("user", self._plain(message, path))
            elif message.role == Role.ROLE_TOOL:
                self._add("user", self._results(message, path))
            else:
                self._add("assistant", self._assistant(message, path))
        self._check_turns()
        if len(self._system) == 1 and self._system[0].keys() == {"type", "text"}:
            body["system"] = self._system[0]["text"]
        elif self._system:
            body["system"] = self._system
        body["messages"] = self._turns

    def mark(self, part: Any, path: str) -> JsonObject:
        """{"cache_control": ...} where a part or tool asks for a cache mark, else nothing."""
        if not part.HasField("cache_breakpoint"):
            return {}
        self.marks += 1
        if self.marks > _MOST_MARKS:
            raise invalid(f"{path}.cache_breakpoint", f"at most {_MOST_MARKS} are taken")
        return {"cache_control": cache_control(part.cache_breakpoint, f"{path}.cache_breakpoint")}

    def _put_system(self, message: Message, path: str) -> None:
        blocks = self._plain(message, path)
        if not self._turns:
            self._system += blocks
        elif self._family.system_turns:
            self._add("system", blocks)
        else:
            self._refusals.adjust(path, "it is sent before the other messages")
            self._system += blocks

    def _add(self, role: str, blocks: _Blocks) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["content"] += blocks
        else:
            self._turns.append({"role": role, "content": blocks})

    def _check_turns(self) -> None:
        if not self._turns:  # at least one turn is demanded
            self._refusals.adjust("messages", "the system message is sent as the user's")
            self._turns = [{"role": "user", "content": self._system}]
            self._system = []
        last = self._turns[-1]
        block = last["content"][-1]
        if last["role"] == "assistant" and isinstance(block, dict) and block["type"] == "text":
            # What the model is to go on with must not end in white space.
            text = block["text"].rstrip()
            if text != block["text"]:
                self._refusals.adjust("messages", "white space at the end is left out")
                block["text"] = text

    def _plain(self, message: Message, path: str) -> _Blocks:
        """The parts of a system or user message; blank texts are not taken."""
        blocks: _Blocks = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            self._check_state(part, here)
            block = self._content_block(part, here)
            if block is not None:
                blocks.append(block | self.mark(part, here))
            elif part.HasField("cache_breakpoint"):
                self._refusals.drop(f"{here}.cache_breakpoint", "its part is not sent")
        if not blocks:
            raise invalid(f"{path}.parts", "must hold more than white space")
        return blocks

    def _content_block(self, part: Part, path: str) -> JsonObject | None:
        """Text or media; None: it is left out."""
        if part.HasField("text"):
            text = part.text.text
            return {"type": "text", "text": text} if text.strip() else None
        block = media_block(part.media, f"{path}.media")
        if block is None:
            kind = part.media.media_type or "this"
            self._refusals.refuse(f"{path}.media", f"{self._row.name} takes no {kind} content")
        elif block["source"]["type"] == "file":
            self.betas.append(FILES_BETA)
        return block

    def _assistant(self, message: Message, path: str) -> _Blocks:
        blocks: _Blocks = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            block = self._assistant_block(part, here)
            if block is None:
                continue
            mark = self.mark(part, here)
            if mark and (part.HasField("reasoning") or part.HasField("provider")):
                self._refusals.refuse(f"{here}.cache_breakpoint", "no cache mark can be set here")
            elif mark:
                block |= mark
            blocks.append(block)
        if not blocks:
            self._refusals.drop(path, "it has no content that can be sent")
        return blocks

    def _assistant_block(self, part: Part, path: str) -> Any:
        """A block of the assistant's turn; None: it is left out."""
        kind = part.WhichOneof("content")
        if kind == "reasoning":
            return self._reasoning(part, path)
        if kind == "provider":
            return self._provider_block(part, path)
        if kind == "media":
            self._refusals.refuse(f"{path}.media", "an assistant's turn holds no media")
            return None
        state = self._kept(part, path)
        if kind == "tool_call":
            return self._tool_use(part, path) | state
        text = part.text.text if kind == "text" else part.refusal.text
        return {"type": "text", "text": text} | state if text.strip() else None

    def _reasoning(self, part: Part, path: str) -> JsonObject | None:
        self._check_state(part, path)
        if part.opaque_state.issuer != ISSUER:
            self._refusals.drop(path, "only reasoning that the provider signed can go back")
            return None
        try:
            state = part.opaque_state.data.decode()
        except UnicodeDecodeError:
            raise invalid(f"{path}.opaque_state.data", _NOT_OURS) from None
        if part.reasoning.redacted:
            return {"type": "redacted_thinking", "data": state}
        return {"type": "thinking", "thinking": part.reasoning.text, "signature": state}

    def _tool_use(self, part: Part, path: str) -> JsonObject:
        call = part.tool_call
        given = _object_as_given(call.arguments_json or "{}")
        if given is None:
            given = {}
            self._refusals.adjust(
                f"{path}.tool_call.arguments_json", "{} is sent, since it is no JSON object"
            )
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": given}

    def _provider_block(self, part: Part, path: str) -> Any:
        block = part.provider
        if block.issuer != ISSUER:
            raise invalid(
                f"{path}.provider.issuer", f"{block.issuer!r} can't be replayed to {ISSUER}"
            )
        if block.type in ABOUT_ANSWER:
            return None
        payload = _object_as_given(block.payload_json)
        if payload is None:
            raise invalid(f"{path}.provider.payload_json", "is no JSON object")
        return payload

    def _results(self, message: Message, path: str) -> _Blocks:
        blocks: _Blocks = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            self._check_state(part, here)
            block = self._result(part.tool_result, f"{here}.tool_result")
            blocks.append(block | self.mark(part, here))
        return blocks

    def _result(self, result: ToolResultPart, path: str) -> JsonObject:
        content: _Blocks = []
        for index, part in enumerate(result.content):
            here = f"{path}.content[{index}]"
            self._check_state(part, here)
            block = self._content_block(part, here)
            if block is not None:
                content.append(block | self.mark(part, here))
        item: JsonObject = {"type": "tool_result", "tool_use_id": result.tool_call_id}
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            item["content"] = content[0]["text"]
        elif content:
            item["content"] = content
        if result.is_error:
            item["is_error"] = True
        return item

    def _kept(self, part: Part, path: str) -> JsonObject:
        """What a text or tool call came with, beyond what the contract has words for."""
        self._check_state(part, path)
        if part.opaque_state.issuer != ISSUER:
            return {}
        try:
            state = orjson.loads(part.opaque_state.data)
        except orjson.JSONDecodeError:
            state = None
        if not isinstance(state, dict) or state.keys() - set(KEPT_KEYS):
            raise invalid(f"{path}.opaque_state.data", _NOT_OURS)
        return state

    def _check_state(self, part: Part, path: str) -> None:
        if part.HasField("opaque_state") and part.opaque_state.issuer != ISSUER:
            issuer = part.opaque_state.issuer
            self._refusals.drop(f"{path}.opaque_state", f"it belongs to {issuer!r}")


def _object_as_given(text: str) -> Any:
    """The JSON object that a text holds, byte for byte where it is sound; None where it isn't."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = read_json(text.encode())  # without halves of characters
        except ValueError:
            return None
        text = json.dumps(value)
    return orjson.Fragment(text) if isinstance(value, dict) else None


_NOT_OURS = "is not what this service gave out"
