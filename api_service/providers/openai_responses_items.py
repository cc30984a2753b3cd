"""OpenAI Responses: output items, whole or in pieces -> parts.

A whole answer is a list of items that are done; a stream tells of each item that it was added, how
it grows, and that it is done. Both come together in the same handlers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from api_service.providers.json_text import (
    JsonObject,
    dump_json,
    list_of,
    object_of,
    read_json,
    text_of,
)
from api_service.providers.openai_responses_citations import citation_of, says_more
from api_service.providers.openai_responses_media import image_part
from api_service.providers.openai_responses_order import ItemOrder
from api_service.providers.openai_responses_state import (
    ANNOTATION,
    ANNOTATIONS,
    CALL_KEYS,
    FORMAL_KEYS,
    MESSAGE_KEYS,
    provider_part,
    state_of,
)
from marsys.v1 import WarningCode
from serving.event_writer import EventWriter, OpenPart, TextKind

Growth = Literal["text", "refusal", "summary", "content", "arguments"]
"""What of an item grows: a text or refusal, a summary or the words of reasoning, arguments."""

_ITEM_OF: dict[Growth, str] = {
    "text": "message",
    "refusal": "message",
    "summary": "reasoning",
    "content": "reasoning",
    "arguments": "function_call",
}
_CONTENT: dict[str, tuple[TextKind, str]] = {
    "output_text": ("text", "text"),
    "text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
}
# Calls that the caller has to answer. A shell may be the provider's or the caller's.
_FOR_THE_CALLER = frozenset(
    {
        "function_call", "custom_tool_call", "computer_call", "local_shell_call",
        "apply_patch_call", "mcp_approval_request",
    }
)  # fmt: skip


@dataclass(slots=True)
class _Item:
    """An item of which something was told.

    Attributes:
        kind: its type.
        keeps: whether its formal keys must go back with it.
        parts: its parts, by the index of its contents.
        last: which piece of reasoning was told last.
        done: whether it is complete.
    """

    kind: str
    keeps: bool = False
    parts: dict[int, OpenPart] = field(default_factory=dict)
    last: tuple[Growth, int] | None = None
    done: bool = False

    @property
    def settled(self) -> bool:
        """Whether all parts that it will have are begun."""
        return self.done or (self.kind in ("reasoning", "function_call") and bool(self.parts))


class OutputItems:
    """Writes the parts of one answer.

    Args:
        writer: takes them.
        malformed: raises the error of an answer that can't be read.

    Attributes:
        seed: what ids of tool calls are made from where the provider gives none.
        calls: whether the caller has to answer a call.
        refused: whether the model refused.
    """

    def __init__(self, writer: EventWriter, malformed: Callable[[str], NoReturn]) -> None:
        self.seed = ""
        self.calls = False
        self.refused = False
        self._writer = writer
        self._malformed = malformed
        self._items: dict[int, _Item] = {}
        self._order = ItemOrder(self._settled)
        self._reasoned = False
        self._spoke = False
        self._warned: set[str] = set()

    def added(self, index: int, item: JsonObject) -> None:
        """An item begins."""
        self._order.when_due(index, lambda: self._begin(index, item))

    def grows(self, index: int, what: Growth, at: int, text: str) -> None:
        """An item grows.

        Args:
            index: index of the item.
            what: what grows.
            at: which of its contents or summaries.
            text: what is appended.
        """
        if text:
            self._order.when_due(index, lambda: self._grow(index, what, at, text))

    def told(self, index: int, what: Growth, at: int, text: str) -> None:
        """What grew is complete: the whole of it."""
        if text and what not in ("summary", "content"):  # reasoning comes whole with its item
            self._order.when_due(index, lambda: self._tell(index, what, at, text))

    def done(self, index: int, item: JsonObject) -> None:
        """An item is complete; the last of it to be told."""
        self._order.when_due(index, lambda: self._end(index, item))

    def finish(self, output: list[Any], status: str) -> None:
        """The answer is complete.

        Args:
            output: its items; may be empty where all of them were told before.
            status: "completed" or "incomplete".
        """
        self._order.end()
        for index, item in enumerate(output):
            if isinstance(item, dict):
                self._end(index, item)
        for index, begun in self._items.items():
            if begun.kind == "function_call" and not begun.done:
                self._end(index, {"type": begun.kind, "status": status})

    def _settled(self, index: int) -> bool:
        item = self._items.get(index)
        return item is None or item.settled

    def _begin(self, index: int, item: JsonObject) -> _Item:
        known = self._items.get(index)
        if known is not None:
            return known
        kind = text_of(item.get("type"))
        begun = self._items[index] = _Item(kind, keeps=self._reasoned)
        if kind == "reasoning":
            self._reasoned = True
        elif kind == "message":
            # A second message that nothing tells from the first would be joined to it.
            begun.keeps = begun.keeps or self._spoke
            self._spoke = True
        elif kind == "function_call" and item.get("name"):
            self._open_call(index, begun, item)
        return begun

    def _grow(self, index: int, what: Growth, at: int, text: str) -> None:
        part = self._part(index, what, at)
        if part is not None:
            self._writer.append(part, text)

    def _tell(self, index: int, what: Growth, at: int, text: str) -> None:
        part = self._part(index, what, at)
        if part is not None:
            self._complete(part, text, arguments=what == "arguments")

    def _part(self, index: int, what: Growth, at: int) -> OpenPart | None:
        """The part that grows; None where nothing can."""
        item = self._begin(index, {"type": _ITEM_OF[what]})
        if item.done or item.kind != _ITEM_OF[what]:
            return None
        if what == "arguments":
            return item.parts.get(0)  # without a name the call waits until it is done
        if what in ("text", "refusal"):
            part = item.parts.get(at)
            if part is None:
                part = item.parts[at] = self._writer.open("text" if what == "text" else "refusal")
            return part
        if item.last is not None and item.last[0] != what:
            return None  # a summary of what was told in full, or the other way round
        part = item.parts.get(0)
        if part is None:
            part = item.parts[0] = self._writer.open("reasoning")
        elif item.last != (what, at):
            self._writer.append(part, "\n\n")
        item.last = (what, at)
        return part

    def _end(self, index: int, item: JsonObject) -> None:
        begun = self._begin(index, item)
        if begun.done:
            return
        begun.done = True
        kind = text_of(item.get("type"))
        if kind == "message":
            self._message(begun, item)
        elif kind == "reasoning":
            self._reasoning(begun, item)
        elif kind == "function_call":
            self._call(index, begun, item)
        elif kind == "image_generation_call" and (image := image_part(item)) is not None:
            self._writer.add(image)
        elif kind:
            self._writer.add(provider_part(kind, item))
        else:
            self._warn("output", "an item without a type is left out")
        self.calls = self.calls or kind in _FOR_THE_CALLER or _is_own_shell(item)
        for part in begun.parts.values():
            self._writer.close(part)

    def _message(self, begun: _Item, item: JsonObject) -> None:
        contents = [object_of(content) for content in list_of(item.get("content"))]
        noted = any(content.get(ANNOTATIONS) for content in contents)
        extra = _rest(item, MESSAGE_KEYS, begun.keeps or noted)
        remarks: list[JsonObject] = []
        for at, content in enumerate(contents):
            kind, key = _CONTENT.get(text_of(content.get("type")), (None, ""))
            if kind is None:
                name = text_of(content.get("type"))[:40]
                self._warn("content", f"a part of type {name!r} is left out")
                continue
            text = text_of(content.get(key))
            part = begun.parts.get(at)
            if part is None and text:
                part = begun.parts[at] = self._writer.open(kind)
            if part is None:
                continue
            self._complete(part, text)
            self.refused = self.refused or kind == "refusal"
            annotations = list(filter(None, map(object_of, list_of(content.get(ANNOTATIONS)))))
            remarks += filter(says_more, annotations)
            part.citations.extend(filter(None, map(citation_of, annotations)))
            state = extra | {ANNOTATIONS: annotations} if annotations else extra
            if state:
                part.opaque_state = state_of(state)
            if content.get("logprobs"):
                self._warn("logprobs", "probabilities of tokens are left out")
        for part in begun.parts.values():
            self._writer.close(part)
        for remark in remarks:
            self._writer.add(provider_part(ANNOTATION, remark))

    def _reasoning(self, begun: _Item, item: JsonObject) -> None:
        part = begun.parts.get(0)
        if part is None:
            part = begun.parts[0] = self._writer.open("reasoning")
        told = begun.last[0] if begun.last else ""
        summary, content = _joined(item.get("summary")), _joined(item.get("content"))
        text = content if told == "content" else summary if told else summary or content
        self._complete(part, text)
        part.redacted = not part.text
        part.opaque_state = state_of(item)

    def _call(self, index: int, begun: _Item, item: JsonObject) -> None:
        part = begun.parts.get(0) or self._open_call(index, begun, item)
        arguments = item.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = dump_json(arguments)
        self._complete(part, text_of(arguments), arguments=True)
        if not part.text and item.get("status") != "incomplete":
            self._writer.append(part, "{}")
        extra = _rest(item, CALL_KEYS, begun.keeps)
        if extra:
            part.opaque_state = state_of(extra)

    def _open_call(self, index: int, begun: _Item, item: JsonObject) -> OpenPart:
        name = text_of(item.get("name"))
        if not name:
            self._malformed("a tool call in its answer has no name")
        call_id = text_of(item.get("call_id")) or text_of(item.get("id"))
        if not call_id:
            digest = hashlib.sha256(f"{self.seed}:{index}".encode()).hexdigest()
            call_id = f"call_{digest[:16]}_{index}"
        part = begun.parts[0] = self._writer.open_tool_call(call_id, name)
        return part

    def _complete(self, part: OpenPart, whole: str, arguments: bool = False) -> None:
        """Make a part hold the whole of its text, of which any beginning has come."""
        have = part.text
        if not whole or whole == have:
            return
        if whole.startswith(have):
            self._writer.append(part, whole[len(have) :])
        elif not arguments:
            self._warn("text", "its end does not agree with what was streamed")
        elif not _mean_the_same(have, whole):
            self._malformed("the arguments of a tool call do not agree with what was streamed")

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._writer.warn(WarningCode.WARNING_CODE_UNKNOWN_OUTPUT, "", f"{key}: {text}")


def _rest(item: JsonObject, known: frozenset[str], formal: bool) -> JsonObject:
    """The keys of an item that must go back with a part.

    Args:
        item: the item.
        known: keys that the part itself holds.
        formal: whether keys that say nothing by themselves must go back.
    """
    rest = {key: value for key, value in item.items() if key not in known and value is not None}
    return rest if formal or not FORMAL_KEYS.issuperset(rest) else {}


def _joined(pieces: object) -> str:
    texts = (text_of(object_of(piece).get("text")) for piece in list_of(pieces))
    return "\n\n".join(text for text in texts if text)


def _is_own_shell(item: JsonObject) -> bool:
    """Whether the item is a command for the caller's own shell, not for the provider's."""
    place = object_of(item.get("environment")).get("type", "local")
    return item.get("type") == "shell_call" and place == "local"


def _mean_the_same(one: str, other: str) -> bool:
    try:
        same: bool = read_json(one.encode()) == read_json(other.encode())
    except ValueError:
        return False
    return same
