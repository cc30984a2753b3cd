"""Anthropic Messages: content blocks of an answer -> parts of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api_service.providers.anthropic_citations import citation_of
from api_service.providers.anthropic_fences import FenceStripper
from api_service.providers.anthropic_state import ISSUER, keys_state, raw_state
from api_service.providers.json_text import JsonObject, dump_json, object_of, read_json, text_of
from marsys.v1 import Part, ProviderPart, ReasoningPart
from serving.event_writer import EventWriter, OpenPart

_DIRECT = {"type": "direct"}  # the model itself called the tool, as ever


class _Block:
    """A block that is being written."""

    def __init__(self, block: JsonObject) -> None:
        self.kind = text_of(block.get("type"))
        self.block = block
        self.part: OpenPart | None = None
        self.fence: FenceStripper | None = None
        self.fragments: list[str] = []  # JSON of a tool's input
        self.signature: list[str] = []
        self.citations: list[Any] = []


class Blocks:
    """Writes the blocks of one answer. A whole block is one that begins with all its content.

    Args:
        writer: takes the events.
        json_mode: whether the caller wants JSON only: code fences around it are taken off.
        warn: tells of something that is left out, and why.

    Attributes:
        seed: what the ids of tool calls are made from where the provider gives none.
        has_output: whether anything came but empty text.
    """

    def __init__(
        self, writer: EventWriter, json_mode: bool, warn: Callable[[str, str], None]
    ) -> None:
        self.seed = ""
        self.has_output = False
        self._writer = writer
        self._json_mode = json_mode
        self._warn = warn
        self._open: dict[int, _Block] = {}
        self._ids: set[str] = set()

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called."""
        return bool(self._ids)

    def begin(self, index: int, content: JsonObject) -> bool:
        """A block begins. Returns False where it can't be read."""
        if index in self._open:
            return False
        item = self._open[index] = _Block(content)
        self.has_output |= item.kind != "text"
        if item.kind == "text":
            item.part = self._writer.open("text")
            if self._json_mode:
                item.fence = FenceStripper()
            self._append(item, text_of(content.get("text")))
            citations = content.get("citations")
            item.citations = list(citations) if isinstance(citations, list) else []
        elif item.kind == "thinking":
            item.part = self._writer.open("reasoning")
            self._append(item, text_of(content.get("thinking")))
            item.signature.append(text_of(content.get("signature")))
        elif item.kind == "tool_use":
            return self._begin_call(item)
        return bool(item.kind)

    def delta(self, index: int, delta: JsonObject) -> bool:
        """A block grows. Returns False where it never began."""
        item = self._open.get(index)
        if item is None:
            return False
        kind = delta.get("type")
        if kind == "input_json_delta":
            fragment = text_of(delta.get("partial_json"))
            item.fragments.append(fragment)
            if item.kind == "tool_use":
                self._append(item, fragment)
        elif kind == "text_delta" and item.part is not None:
            self._append(item, text_of(delta.get("text")))
        elif kind == "thinking_delta" and item.part is not None:
            self._append(item, text_of(delta.get("thinking")))
        elif kind == "signature_delta":
            item.signature.append(text_of(delta.get("signature")))
        elif kind == "citations_delta":
            item.citations.append(delta.get("citation"))
        elif item.part is None:
            _grow(item.block, delta)
        elif delta.keys() - {"type", "estimated_tokens"}:
            self._warn(str(kind)[:40], "its meaning is unknown, it is left out")
        return True

    def end(self, index: int) -> bool:
        """A block is complete. Returns False where it never began."""
        item = self._open.pop(index, None)
        if item is None:
            return False
        if item.kind == "text":
            self._end_text(item)
        elif item.kind == "thinking" and item.part is not None:
            item.part.opaque_state = raw_state("".join(item.signature))
            self._writer.close(item.part)
        elif item.kind == "redacted_thinking":
            self._writer.add(
                Part(
                    reasoning=ReasoningPart(redacted=True),
                    opaque_state=raw_state(text_of(item.block.get("data"))),
                )
            )
        elif item.kind == "tool_use" and item.part is not None:
            self._end_call(item)
        else:
            self._end_other(item)
        return True

    def end_all(self, complete: bool) -> None:
        """The answer has ended: close what is open.

        Args:
            complete: whether the model ended by itself, so that a call without arguments has none.
        """
        for index in sorted(self._open):
            if not complete and self._open[index].kind == "tool_use":
                self._open.pop(index)  # cut off: its arguments stay as they are
            else:
                self.end(index)

    def _append(self, item: _Block, text: str) -> None:
        if item.fence is not None:
            text = item.fence.feed(text)
        self._write(item.part, text)

    def _write(self, part: OpenPart | None, text: str) -> None:
        if part is not None and text:
            self.has_output = True
            self._writer.append(part, text)

    def _begin_call(self, item: _Block) -> bool:
        name = text_of(item.block.get("name"))
        if not name:
            return False
        call_id = text_of(item.block.get("id"))
        if not call_id or call_id in self._ids:
            call_id = f"call_{self.seed or 'anthropic'}_{len(self._ids)}"
        self._ids.add(call_id)
        item.part = self._writer.open_tool_call(call_id, name)
        return True

    def _end_call(self, item: _Block) -> None:
        part = item.part
        if part is None:
            return
        if not part.text:  # all came at the beginning, or there is nothing
            given = item.block.get("input")
            self._writer.append(part, dump_json({} if given in (None, "") else given))
        caller = item.block.get("caller")
        if caller and caller != _DIRECT:
            part.opaque_state = keys_state({"caller": caller})
        self._writer.close(part)

    def _end_text(self, item: _Block) -> None:
        part = item.part
        if part is None:
            return
        if item.fence is not None:
            self._write(part, item.fence.end())
        given = [one for one in item.citations if isinstance(one, dict)]
        part.citations.extend(citation_of(one) for one in given)
        if given:
            part.opaque_state = keys_state({"citations": given})
        self._writer.close(part)

    def _end_other(self, item: _Block) -> None:
        """A block for which the contract has no words."""
        if item.fragments:
            text = "".join(item.fragments)
            try:
                item.block["input"] = read_json(text.encode()) if text else {}
            except ValueError:
                self._warn(item.kind[:40], "its input is no JSON and is left out")
        if item.citations:
            item.block["citations"] = item.citations
        payload = dump_json(item.block)
        block = ProviderPart(issuer=ISSUER, type=item.kind, payload_json=payload)
        self._writer.add(Part(provider=block))


def _grow(block: JsonObject, delta: JsonObject) -> None:
    """Add what an unknown delta tells to a block that is kept as it comes."""
    for key, value in delta.items():
        if key == "type":
            continue
        if isinstance(value, str) and isinstance(block.get(key), str):
            block[key] += value
        elif isinstance(value, list) and isinstance(block.get(key), list):
            block[key] = [*block[key], *value]
        elif isinstance(value, dict):
            block[key] = object_of(block.get(key)) | value
        else:
            block[key] = value
