"""OpenAI Responses: messages of the contract -> input items of the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject
from api_service.providers.openai_responses_media import image_item, media_content
from api_service.providers.openai_responses_state import (
    ABOUT_ANSWER,
    ANNOTATIONS,
    CALL_KEYS,
    ISSUER,
    MESSAGE_KEYS,
    read_state,
)
from api_service.providers.unsupported import Refusals
from marsys.v1 import Message, Part, Role, ToolResultPart
from serving.errors import invalid

_CACHE_TTLS = {1800: "30m", 43200: "12h"}


class InputEncoder:
    """Encodes the messages of one request.

    Args:
        upstream: whom they go to.
        family: what the model takes.
        refusals: what to do with what it doesn't take.
        stores: whether the provider keeps what it said, so that items may go back by their ids.
    """

    def __init__(
        self, upstream: Upstream, family: Family, refusals: Refusals, stores: bool
    ) -> None:
        self._row = upstream.row
        self._model = upstream.model
        self._marks = family.cache_marks
        self._refusals = refusals
        self._stores = stores
        # Who takes instructions apart takes no system messages; the developer's count as much.
        self._system = "developer" if upstream.row.instructions else "system"
        self._callers: dict[str, Any] = {}  # which program made a tool call, by its id

    def encode(self, messages: Sequence[Message], first: int = 0) -> list[Any]:
        """The items of the wire, in order.

        Args:
            messages: the conversation.
            first: index of the first message that is to be among them.

        Raises:
            ServiceError: content can't be expressed.
        """
        items: list[Any] = []
        for index, message in enumerate(messages[first:], first):
            path = f"messages[{index}]"
            if message.HasField("name"):
                self._refusals.refuse(f"{path}.name", f"{self._row.name} takes no names here")
            if message.role == Role.ROLE_TOOL:
                items += self._tool_results(message, path)
            elif message.role == Role.ROLE_ASSISTANT:
                items += self._assistant(message, path)
            else:
                role = self._system if message.role == Role.ROLE_SYSTEM else "user"
                content = _shortest(self._content(message.parts, f"{path}.parts"))
                items.append({"role": role, "content": content})
        return items

    def _content(self, parts: Sequence[Part], path: str) -> list[JsonObject]:
        """Text and media."""
        items = []
        for index, part in enumerate(parts):
            here = f"{path}[{index}]"
            self._drop_foreign_state(part, here)
            if part.HasField("text"):
                item: JsonObject | None = {"type": "input_text", "text": part.text.text}
            else:
                item = media_content(part.media, f"{here}.media", self._row, self._refusals)
            if item is not None:
                self._mark(part, here, item)
                items.append(item)
        return items

    def _mark(self, part: Part, path: str, item: JsonObject) -> None:
        """Set the cache mark that a part asks for."""
        if not part.HasField("cache_breakpoint"):
            return
        if not self._marks:
            self._refuse_mark(part, path)
            return
        mark: JsonObject = {"mode": "explicit"}
        if part.cache_breakpoint.HasField("ttl"):
            ttl = _CACHE_TTLS.get(part.cache_breakpoint.ttl.ToSeconds())
            if ttl is None:
                raise invalid(f"{path}.cache_breakpoint.ttl", "must be 1800 s or 43200 s")
            mark["ttl"] = ttl
        item["prompt_cache_breakpoint"] = mark

    def _assistant(self, message: Message, path: str) -> list[Any]:
        items: list[Any] = []
        texts = _Texts()
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            kind = part.WhichOneof("content")
            self._refuse_mark(part, here)
            if kind in ("text", "refusal"):
                texts.add(part, self._state(part, here, MESSAGE_KEYS))
                continue
            items += texts.take()
            if kind == "tool_call":
                items.append(self._tool_call(part, here))
            elif kind == "reasoning":
                items += self._reasoning(part, here)
            elif kind == "provider":
                items += self._provider_part(part, here)
            elif part.HasField("opaque_state") and part.opaque_state.issuer == ISSUER:
                items.append(orjson.Fragment(image_item(part, here)))
            else:
                self._refusals.refuse(f"{here}.{kind}", "can't be sent back on this wire protocol")
        return items + texts.take()

    def _tool_call(self, part: Part, path: str) -> JsonObject:
        call, state = part.tool_call, self._state(part, path, CALL_KEYS)
        if "caller" in state:
            self._callers[call.id] = state["caller"]
        item = {"type": "function_call", "call_id": call.id, "name": call.name}
        return item | {"arguments": call.arguments_json or "{}"} | state

    def _reasoning(self, part: Part, path: str) -> list[orjson.Fragment]:
        """The reasoning item as it was received."""
        if not part.HasField("opaque_state") or part.opaque_state.issuer != ISSUER:
            self._refusals.drop(path, f"{self._row.name} takes only its own reasoning back")
            return []
        item = read_state(part.opaque_state)
        if item is None or item.get("type") != "reasoning":
            raise invalid(f"{path}.opaque_state.data", "is not what this service gave out")
        if not (self._stores or item.get("encrypted_content") or item.get("content")):
            self._refusals.drop(path, "it holds nothing that the provider could read")
            return []
        return [orjson.Fragment(part.opaque_state.data)]

    def _provider_part(self, part: Part, path: str) -> list[orjson.Fragment]:
        block = part.provider
        self._drop_foreign_state(part, path)
        if block.issuer != ISSUER:
            raise invalid(
                f"{path}.provider.issuer", f"{block.issuer!r} can't be replayed to {ISSUER}"
            )
        try:
            payload = orjson.loads(block.payload_json)
        except orjson.JSONDecodeError:
            payload = None
        if not isinstance(payload, dict):
            raise invalid(f"{path}.provider.payload_json", "is not the text of a JSON object")
        return [] if block.type in ABOUT_ANSWER else [orjson.Fragment(block.payload_json)]

    def _tool_results(self, message: Message, path: str) -> list[JsonObject]:
        items = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            result = part.tool_result
            self._drop_foreign_state(part, here)
            self._refuse_mark(part, here)
            item: JsonObject = {"type": "function_call_output", "call_id": result.tool_call_id}
            item["output"] = self._output(result, f"{here}.tool_result.content")
            caller = self._callers.get(result.tool_call_id)
            items.append(item | {"caller": caller} if caller else item)
        return items

    def _output(self, result: ToolResultPart, path: str) -> str | list[JsonObject]:
        content = self._content(result.content, path)
        if result.is_error:  # the wire has no word for a failed tool; the model must read it
            first = content[0] if content and content[0]["type"] == "input_text" else None
            if first is None:
                content.insert(0, {"type": "input_text", "text": "Error"})
            else:
                first["text"] = f"Error: {first['text']}"
        return _shortest(content) if content else ""

    def _state(self, part: Part, path: str, own_keys: frozenset[str]) -> JsonObject:
        """The further keys of an item that a part's opaque state holds, where it is ours."""
        if not part.HasField("opaque_state"):
            return {}
        if part.opaque_state.issuer != ISSUER:
            self._drop_foreign_state(part, path)
            return {}
        state = read_state(part.opaque_state)
        if state is None or not own_keys.isdisjoint(state):
            raise invalid(f"{path}.opaque_state.data", "is not what this service gave out")
        return state

    def _drop_foreign_state(self, part: Part, path: str) -> None:
        if part.HasField("opaque_state") and part.opaque_state.issuer != ISSUER:
            issuer = part.opaque_state.issuer
            self._refusals.drop(f"{path}.opaque_state", f"it belongs to {issuer!r}")

    def _refuse_mark(self, part: Part, path: str) -> None:
        if part.HasField("cache_breakpoint"):
            self._refusals.refuse(
                f"{path}.cache_breakpoint", f"no cache mark can be set here for {self._model}"
            )


class _Texts:
    """Gathers texts and refusals that stand side by side into message items.

    Those that came in one item go back in one. Where nothing is known of an item, the texts are
    what the assistant said.
    """

    def __init__(self) -> None:
        self._items: list[JsonObject] = []
        self._keys: Mapping[str, Any] | None = None  # what is known of the last item

    def add(self, part: Part, state: JsonObject) -> None:
        """Take a part.

        Args:
            part: the part.
            state: the further keys of its item, and its annotations.
        """
        annotations = state.pop(ANNOTATIONS, [])
        if part.HasField("text"):
            content: JsonObject = {"type": "output_text", "text": part.text.text}
            content["annotations"] = annotations
        else:
            content = {"type": "refusal", "refusal": part.refusal.text}
        if self._keys != state:
            self._keys = state
            item = {"type": "message", "role": "assistant", **state, "content": []}
            self._items.append(item)
        self._items[-1]["content"].append(content)

    def take(self) -> list[JsonObject]:
        """The items since the last call."""
        items, self._items, self._keys = self._items, [], None
        return [_plainest(item) for item in items]


def _plainest(item: JsonObject) -> JsonObject:
    """A message item of which nothing but texts is known, as the string that the wire takes."""
    content = item["content"]
    if len(item) > len(MESSAGE_KEYS) or any(one["type"] != "output_text" for one in content):
        return item
    return {"role": "assistant", "content": "".join(one["text"] for one in content)}


def _shortest(content: list[JsonObject]) -> str | list[JsonObject]:
    """Content as a string where it is one plain text."""
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        text: str = content[0]["text"]
        return text
    return content
