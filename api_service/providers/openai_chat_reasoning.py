"""OpenAI Chat Completions: reasoning in blocks, gathered from a stream."""

from __future__ import annotations

from typing import Any

from api_service.providers.json_text import JsonObject, dump_json, list_of, object_of, text_of

# Keys whose values grow by fragments; others come once.
_GROWING = ("text", "summary", "data")


class ReasoningDetails:
    """Gathers the blocks that go back to the provider unchanged on the next turn."""

    def __init__(self) -> None:
        self._blocks: list[JsonObject] = []

    def add(self, fragments: list[Any]) -> str:
        """Take fragments. Returns the words in them that a caller may read."""
        told = []
        for fragment in fragments:
            if not isinstance(fragment, dict):
                continue
            told.append(text_of(fragment.get("text")) or text_of(fragment.get("summary")))
            block = self._open_block(fragment)
            if block is None:
                self._blocks.append(dict(fragment))
            else:
                _grow(block, fragment)
        return "".join(told)

    def state(self) -> bytes:
        """The blocks as JSON; empty where there are none."""
        return dump_json(self._blocks).encode() if self._blocks else b""

    def _open_block(self, fragment: JsonObject) -> JsonObject | None:
        """The block that a fragment goes on with."""
        if not self._blocks or "index" not in fragment:
            return None
        for block in reversed(self._blocks):
            if (block.get("index"), block.get("type")) == (fragment["index"], fragment.get("type")):
                ids = {text_of(block.get("id")), text_of(fragment.get("id"))} - {""}
                return block if len(ids) < 2 else None
        return None


class Thoughts:
    """Parts of the type "thinking" among a message's content (Mistral)."""

    def __init__(self) -> None:
        self._whole: list[JsonObject] = []
        self._pieces: JsonObject = {}  # of a stream: what its parts hold beside the words
        self._words: list[str] = []

    def add(self, part: JsonObject, whole: bool) -> str:
        """Take a part, or a fragment of one. Returns the words in it.

        Args:
            part: {"type": "thinking", "thinking": [{"type": "text", "text": ...}]}, or with a text
                in place of the list.
            whole: whether it is a part of its own; else it goes on with the one before.
        """
        thinking = part.get("thinking")
        words = text_of(thinking)
        words += "".join(text_of(object_of(item).get("text")) for item in list_of(thinking))
        if whole:
            self._whole.append(part)
        else:
            self._pieces |= part
            self._words.append(words)
        return words

    def blocks(self) -> list[JsonObject]:
        """The parts, as they go back to the provider."""
        if not self._pieces:
            return self._whole
        thinking = [{"type": "text", "text": "".join(self._words)}]
        return [*self._whole, self._pieces | {"thinking": thinking}]


def _grow(block: JsonObject, fragment: JsonObject) -> None:
    for key, value in fragment.items():
        if key in _GROWING and isinstance(value, str) and isinstance(block.get(key), str):
            block[key] += value
        elif value not in (None, "") or key not in block:
            block[key] = value
