"""Parts of an assistant message <-> the keys of a message dict, and back without loss.

A dict has one `content`, one `thinking` and one list of `tool_calls`; a message has parts in an
order, some with a provider's opaque state. Where the keys don't suffice, `reasoning_details`
carries the parts themselves, and is used again as long as the keys still say the same.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from marsys.models._errors import invalid
from marsys.v1 import Part, ReasoningPart, RefusalPart, TextPart, ToolCallPart

_TYPE = "marsys.part"


@dataclass(slots=True)
class View:
    """What the keys of a message dict show of its parts."""

    content: str | None
    thinking: str | None
    tool_calls: list[dict[str, Any]]
    refusal: str | None


def view(parts: Iterable[Part]) -> View:
    """The keys for parts, in whatever order these stand."""
    texts, thoughts, calls, refusals = [], [], [], []
    for part in parts:
        kind = part.WhichOneof("content")
        if kind == "text":
            texts.append(part.text.text)
        elif kind == "reasoning":
            thoughts.append(part.reasoning.text)
        elif kind == "tool_call":
            calls.append(call_dict(part.tool_call))
        elif kind == "refusal":
            refusals.append(part.refusal.text)
    refusal = "".join(refusals) if refusals else None
    content = "".join(texts) if texts else refusal
    if content is None and not calls:
        content = ""
    return View(content, "".join(thoughts) or None, calls, refusal)


def simple_parts(seen: View) -> list[Part]:
    """Parts for keys alone: reasoning, then text, then tool calls."""
    parts = []
    if seen.thinking:
        parts.append(Part(reasoning=ReasoningPart(text=seen.thinking)))
    if seen.refusal is not None:
        parts.append(Part(refusal=RefusalPart(text=seen.refusal)))
    if seen.content and seen.content != seen.refusal:
        parts.append(Part(text=TextPart(text=seen.content)))
    for call in seen.tool_calls:
        function = call["function"]
        tool_call = ToolCallPart(
            id=call["id"], name=function["name"], arguments_json=function["arguments"]
        )
        parts.append(Part(tool_call=tool_call))
    return parts


def reasoning_details(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Entries that carry the parts exactly; none where the other keys suffice."""
    if simple_parts(view(parts)) == list(parts):
        return []
    details = []
    for index, part in enumerate(parts):
        entry = {"type": _TYPE, "index": index, "kind": part.WhichOneof("content") or ""}
        if part.HasField("opaque_state"):
            entry["issuer"] = part.opaque_state.issuer
        entry["part"] = base64.b64encode(part.SerializeToString(deterministic=True)).decode()
        details.append(entry)
    return details


def read_details(details: Any, path: str) -> list[Part]:
    """The parts that `reasoning_details` entries carry.

    Raises:
        ModelAPIError: an entry is none that this client made.
    """
    if not isinstance(details, (list, tuple)):
        raise invalid(path, "must be a list")
    parts = []
    for index, entry in enumerate(details):
        if not isinstance(entry, Mapping) or entry.get("type") != _TYPE:
            raise invalid(f"{path}[{index}]", "is no entry that this client made")
        try:
            parts.append(Part.FromString(base64.b64decode(entry["part"], validate=True)))
        except (KeyError, TypeError, binascii.Error, DecodeError):
            raise invalid(f"{path}[{index}].part", "can't be read") from None
    return parts


def merge(carried: Sequence[Part], seen: View) -> list[Part]:
    """Parts for a message whose keys no longer say what its details carry.

    Reasoning keeps its state, and so does a tool call that has not changed; the rest is rebuilt
    from the keys, in simple order.
    """
    kept = {part.tool_call.id: part for part in carried if part.HasField("tool_call")}
    edited = View(seen.content, None, seen.tool_calls, seen.refusal)
    parts = [part for part in carried if part.HasField("reasoning")]
    for part in simple_parts(edited):
        same = kept.get(part.tool_call.id) if part.HasField("tool_call") else None
        parts.append(same if same is not None and same.tool_call == part.tool_call else part)
    return parts


def call_dict(call: ToolCallPart) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json},
    }
