"""Google generateContent: messages of the contract -> `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import orjson

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.google_media import media_item
from api_service.providers.google_state import (
    ABOUT_ANSWER,
    ISSUER,
    NO_SIGNATURE,
    SIGNATURE,
    SIGNATURES,
    is_made,
)
from api_service.providers.google_tools import result_object
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import Message, Part, Role, ToolResultPart
from serving.errors import invalid

_Items = list[JsonObject]


class ContentEncoder:
    """Encodes the messages of one request.

    Args:
        upstream: whom they go to.
        family: what the model takes.
        refusals: what to do with what it doesn't take.
    """

    def __init__(self, upstream: Upstream, family: Family, refusals: Refusals) -> None:
        self._row = upstream.row
        self._model = upstream.model
        self._family = family
        self._signs = SIGNATURES not in upstream.refused
        self._refusals = refusals
        self._contents: list[JsonObject] = []
        self._names: dict[str, str] = {}  # tool call id -> name of the tool
        self._order: dict[str, int] = {}  # tool call id -> where it stands in its turn
        self._batch: list[tuple[int, JsonObject]] = []  # results of the last turn's calls

    def put(self, body: JsonObject, messages: Sequence[Message]) -> None:
        """Put the messages into the body.

        Contents of one role are merged, but for tool results, which stay by themselves: Google
        takes them for the model's where anything else is beside them.

        Raises:
            ServiceError: content can't be expressed.
        """
        system: _Items = []
        turn = _last(messages, Role.ROLE_USER)
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.HasField("name"):
                self._refusals.refuse(f"{path}.name", f"{self._row.name} takes no names")
            if message.role == Role.ROLE_SYSTEM:
                if self._contents:
                    self._refusals.adjust(
                        path, "it is sent before the other messages; Google has no other place"
                    )
                system += self._plain(message, path)
            elif message.role == Role.ROLE_USER:
                self._add("user", self._plain(message, path))
            elif message.role == Role.ROLE_TOOL:
                self._results(message, path)
            else:
                self._add("model", self._assistant(message, path, current=index > turn))
        if not self._contents:  # at least one content is demanded
            self._refusals.adjust("messages", "the system message is sent as the user's")
            self._contents, system = [{"role": "user", "parts": system}], []
        if system:
            body["systemInstruction"] = {"parts": system}
        body["contents"] = self._contents

    def _add(self, role: str, items: _Items) -> None:
        last = self._contents[-1] if self._contents else {}
        if last.get("role") == role and not _holds_results(last):
            last["parts"] += items
        else:
            self._contents.append({"role": role, "parts": items})

    def _plain(self, message: Message, path: str) -> _Items:
        """The parts of a system or user message."""
        items = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            self._refuse_mark(part, here)
            item = self._media(part, here) if part.HasField("media") else {"text": part.text.text}
            items.append(self._signed(item, part, here))
        return [item for item in items if item != {"text": ""}] or items

    def _assistant(self, message: Message, path: str, current: bool) -> _Items:
        items: _Items = []
        calls = 0
        self._batch = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            self._refuse_mark(part, here)
            item = self._assistant_part(part, here)
            if item is None:
                continue
            if part.HasField("tool_call"):
                self._order[part.tool_call.id] = calls
                if current and not calls:
                    self._excuse_signature(item, here)
                calls += 1
            items.append(item)
        return items or [{"text": ""}]

    def _assistant_part(self, part: Part, path: str) -> Any:
        """A part of the model's content; None: it is left out."""
        kind = part.WhichOneof("content")
        if kind == "text":
            item = self._signed({"text": part.text.text}, part, path)
            return item if part.text.text or SIGNATURE in item else None
        if kind == "reasoning":
            item = self._signed({"text": part.reasoning.text, "thought": True}, part, path)
            return item if part.reasoning.text or SIGNATURE in item else None
        if kind == "tool_call":
            return self._signed(self._tool_call(part, path), part, path)
        if kind == "media":
            return self._signed(self._media(part, path), part, path)
        if kind == "refusal":  # to Google it is what the model said
            item = self._signed({"text": part.refusal.text}, part, path)
            return item if part.refusal.text else None
        return self._provider_part(part, path)

    def _tool_call(self, part: Part, path: str) -> JsonObject:
        call = part.tool_call
        self._names[call.id] = call.name
        function: JsonObject = {"name": call.name, "args": self._arguments(call.arguments_json)}
        if function["args"] is None:
            function["args"] = {}
            self._refusals.adjust(
                f"{path}.tool_call.arguments_json", "{} is sent, since it is no JSON object"
            )
        if not is_made(call.id):
            function["id"] = call.id
        return {"functionCall": function}

    def _arguments(self, text: str) -> Any:
        """The arguments as they are; None: they are no JSON object."""
        if not text:
            return {}
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        return orjson.Fragment(text) if isinstance(value, dict) else None

    def _excuse_signature(self, item: JsonObject, path: str) -> None:
        """Say that a tool call of the present turn has no signature, where one is demanded."""
        if self._family.signed_calls and SIGNATURE not in item:
            item[SIGNATURE] = NO_SIGNATURE
            self._refusals.adjust(
                f"{path}.opaque_state",
                f"{self._model} demands a signature; one that skips its check is sent",
            )

    def _provider_part(self, part: Part, path: str) -> Any:
        block = part.provider
        if block.issuer != ISSUER:
            raise invalid(
                f"{path}.provider.issuer", f"{block.issuer!r} can't be replayed to {ISSUER}"
            )
        try:
            payload = orjson.loads(block.payload_json)
        except orjson.JSONDecodeError:
            payload = None
        if not isinstance(payload, dict | list | str):
            raise invalid(f"{path}.provider.payload_json", "is no JSON that this service gave out")
        if block.type in ABOUT_ANSWER:
            return None
        if not isinstance(payload, dict):
            raise invalid(f"{path}.provider.payload_json", "is no JSON object")
        return orjson.Fragment(block.payload_json)

    def _results(self, message: Message, path: str) -> None:
        """Add results to the content that holds their batch."""
        if not self._batch:
            self._contents.append({"role": "user", "parts": []})
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            self._refuse_mark(part, here)
            self._check_state(part, here)
            item = self._result(part.tool_result, f"{here}.tool_result")
            self._batch.append((self._order.get(part.tool_result.tool_call_id, 0), item))
        # In the order of the calls, which is all that tells them apart without ids.
        self._batch.sort(key=itemgetter(0))
        self._contents[-1]["parts"] = [item for _, item in self._batch]

    def _result(self, result: ToolResultPart, path: str) -> JsonObject:
        name = result.name or self._names.get(result.tool_call_id, "")
        if not name:
            raise invalid(f"{path}.name", "must be set, since no earlier tool call has this id")
        texts: list[str] = []
        media: _Items = []
        for index, part in enumerate(result.content):
            here = f"{path}.content[{index}]"
            self._refuse_mark(part, here)
            self._check_state(part, here)
            if part.HasField("text"):
                texts.append(part.text.text)
            elif self._family.media_results:
                media.append(self._media(part, here))
            else:
                self._refusals.refuse(
                    f"{here}.media", f"{self._model} takes no media in tool results"
                )
        function: JsonObject = {"name": name, "response": result_object(texts, result.is_error)}
        if media:
            function["parts"] = media
        if not is_made(result.tool_call_id):
            function["id"] = result.tool_call_id
        return {"functionResponse": function}

    def _media(self, part: Part, path: str) -> JsonObject:
        if part.media.filename:
            self._refusals.drop(f"{path}.media.filename", f"{self._row.name} takes no file names")
        return media_item(part.media, f"{path}.media")

    def _signed(self, item: JsonObject, part: Part, path: str) -> JsonObject:
        """The item with the signature that its part came with."""
        self._check_state(part, path)
        if part.opaque_state.issuer == ISSUER and not self._signs:
            self._refusals.drop(f"{path}.opaque_state", f"{self._row.name} refused it")
        elif part.opaque_state.issuer == ISSUER:
            try:
                item[SIGNATURE] = part.opaque_state.data.decode()
            except UnicodeDecodeError:
                raise invalid(
                    f"{path}.opaque_state.data", "is not what this service gave out"
                ) from None
        return item

    def _check_state(self, part: Part, path: str) -> None:
        if part.HasField("opaque_state") and part.opaque_state.issuer != ISSUER:
            issuer = part.opaque_state.issuer
            self._refusals.drop(f"{path}.opaque_state", f"it belongs to {issuer!r}")

    def _refuse_mark(self, part: Part, path: str) -> None:
        if part.HasField("cache_breakpoint"):
            self._refusals.refuse(f"{path}.cache_breakpoint", "Google takes no cache marks")


def _last(messages: Sequence[Message], role: Role.ValueType) -> int:
    return max((i for i, message in enumerate(messages) if message.role == role), default=-1)


def _holds_results(content: JsonObject) -> bool:
    return any(isinstance(item, dict) and "functionResponse" in item for item in content["parts"])
