"""Message dicts (OpenAI's form, with Anthropic's parts) -> messages of the contract."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from marsys.models import _media
from marsys.models._errors import invalid
from marsys.models._parts import View, merge, read_details, simple_parts, view
from marsys.v1 import (
    CacheBreakpoint,
    Message,
    OpaqueState,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolResultPart,
)

log = logging.getLogger("marsys.models")

_ROLES = {
    "system": Role.ROLE_SYSTEM,
    "developer": Role.ROLE_SYSTEM,
    "user": Role.ROLE_USER,
    "assistant": Role.ROLE_ASSISTANT,
    "tool": Role.ROLE_TOOL,
}
_KEYS = {
    "system": {"content", "name"},
    "developer": {"content", "name"},
    "user": {"content", "name"},
    "assistant": {"content", "name", "tool_calls", "thinking", "refusal", "reasoning_details"},
    "tool": {"content", "name", "tool_call_id", "is_error"},
}
# Keys of a response that tell of the answer and are no part of the conversation.
_REPORT = {"usage", "finish_reason", "id", "model", "metadata", "cost", "images", "annotations"}
_TTL_SECONDS = {"5m": 300, "1h": 3600}
_ANTHROPIC = "anthropic_messages"


def to_messages(messages: Any) -> list[Message]:
    """Messages of the contract, one for each dict, in order.

    Args:
        messages: list of dicts; a str is one user message.

    Raises:
        ModelAPIError: one can't be read; `field` says which, such as
            "messages[1].content[0].image_url".
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, Sequence) or isinstance(messages, bytes):
        raise invalid("messages", "must be a list of messages")
    read = []
    for index, entry in enumerate(messages):
        path = f"messages[{index}]"
        try:
            read.append(_message(entry, path))
        except UnicodeEncodeError:
            raise invalid(path, "holds text that is no valid Unicode") from None
    return read


def _message(entry: Any, path: str) -> Message:
    if not isinstance(entry, Mapping):
        raise invalid(path, "must be an object with role and content")
    role = entry.get("role")
    if role not in _ROLES:
        raise invalid(f"{path}.role", "must be system, developer, user, assistant or tool")
    allowed = _KEYS[role] | ({"role"} if role != "assistant" else {"role"} | _REPORT)
    for key, value in entry.items():
        if key not in allowed and value is not None:
            raise invalid(f"{path}.{key}", f"is not known in a message of role {role}")
    if role == "tool":
        return Message(role=Role.ROLE_TOOL, parts=[_tool_result(entry, path)])
    if role == "assistant":
        parts = _assistant_parts(entry, path)
    else:
        parts = _content_parts(entry.get("content"), f"{path}.content")
    message = Message(role=_ROLES[role], parts=parts)
    if entry.get("name") is not None:
        message.name = str(entry["name"])
    return message


def _assistant_parts(entry: Mapping[str, Any], path: str) -> list[Part]:
    calls = _tool_calls(entry.get("tool_calls"), f"{path}.tool_calls")
    content = entry.get("content")
    thinking, refusal = entry.get("thinking"), entry.get("refusal")
    for name, value in (("thinking", thinking), ("refusal", refusal)):
        if value is not None and not isinstance(value, str):
            raise invalid(f"{path}.{name}", "must be text")
    details = entry.get("reasoning_details")
    if isinstance(content, str) or content is None:
        seen = View(content, thinking, calls, refusal)
        if details:
            return _replayed(read_details(details, f"{path}.reasoning_details"), seen, path)
        return simple_parts(seen) or [Part(text=TextPart())]
    # A list of parts has its own order. Reasoning stands in it, or in the keys beside it.
    parts = _content_parts(content, f"{path}.content")
    carried = read_details(details, f"{path}.reasoning_details") if details else []
    if not any(part.HasField("reasoning") for part in parts):
        reasoning = [part for part in carried if part.HasField("reasoning")]
        if not reasoning and thinking:
            reasoning = [Part(reasoning=ReasoningPart(text=thinking))]
        parts = reasoning + parts
    if refusal is not None and not any(part.HasField("refusal") for part in parts):
        parts.append(Part(refusal=RefusalPart(text=refusal)))
    return parts + merge(
        [p for p in carried if p.HasField("tool_call")], View("", None, calls, None)
    )


def _replayed(carried: list[Part], seen: View, path: str) -> list[Part]:
    """The carried parts as they were, unless the message's keys have been edited since."""
    before = view(carried)
    if (before.content or "") == (seen.content or "") and before.tool_calls == seen.tool_calls:
        return carried
    log.warning("%s was edited: its reasoning is kept, the order of its parts is not", path)
    return merge(carried, seen) or [Part(text=TextPart())]


def _tool_calls(calls: Any, path: str) -> list[dict[str, Any]]:
    """Tool calls with arguments as text."""
    if not calls:
        return []
    if not isinstance(calls, (list, tuple)):
        raise invalid(path, "must be a list")
    read = []
    for index, call in enumerate(calls):
        here = f"{path}[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise invalid(f"{here}.function", "must be an object with name and arguments")
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = as_json(
                {} if arguments is None else arguments, f"{here}.function.arguments"
            )
        facts = {"name": str(function.get("name") or ""), "arguments": arguments}
        read.append({"id": str(call.get("id") or ""), "type": "function", "function": facts})
    return read


def _tool_result(entry: Mapping[str, Any], path: str) -> Part:
    content = entry.get("content")
    parts = [] if content in (None, "") else _content_parts(content, f"{path}.content")
    result = ToolResultPart(
        tool_call_id=str(entry.get("tool_call_id") or ""),
        name=str(entry.get("name") or ""),
        content=parts,
        is_error=bool(entry.get("is_error", False)),
    )
    return Part(tool_result=result)


def _content_parts(content: Any, path: str) -> list[Part]:
    if isinstance(content, str):
        return [Part(text=TextPart(text=content))]
    if content is None:
        return []
    if not isinstance(content, (list, tuple)):
        raise invalid(path, f"must be text or a list of parts, not {type(content).__name__}")
    return [_part(entry, f"{path}[{index}]") for index, entry in enumerate(content)]


def _part(entry: Any, path: str) -> Part:
    if isinstance(entry, str):
        return Part(text=TextPart(text=entry))
    if not isinstance(entry, Mapping):
        raise invalid(path, f"must be an object with a type, not {type(entry).__name__}")
    part = _typed_part(entry, path)
    if entry.get("cache_control") is not None:
        part.cache_breakpoint.CopyFrom(_breakpoint(entry["cache_control"], path))
    return part


def _typed_part(entry: Mapping[str, Any], path: str) -> Part:
    kind = entry.get("type")
    if kind in ("text", "input_text", "output_text"):
        return Part(text=TextPart(text=_text(entry, "text", path)))
    if kind == "image_url":
        return Part(media=_media.image_url(entry.get("image_url"), f"{path}.image_url"))
    if kind in ("image", "document") and "source" in entry:
        return Part(media=_media.native_image(entry["source"], f"{path}.source"))
    if kind == "image" and "image" in entry:
        return Part(media=_media.image(entry["image"], f"{path}.image"))
    if kind == "input_audio":
        return Part(media=_media.audio(entry.get("input_audio"), f"{path}.input_audio"))
    if kind == "file":
        return Part(media=_media.file(entry.get("file"), f"{path}.file"))
    if kind == "thinking":
        part = Part(reasoning=ReasoningPart(text=_text(entry, "thinking", path)))
        if entry.get("signature"):
            state = OpaqueState(issuer=_ANTHROPIC, data=_text(entry, "signature", path).encode())
            part.opaque_state.CopyFrom(state)
        return part
    if kind == "redacted_thinking":
        state = OpaqueState(issuer=_ANTHROPIC, data=_text(entry, "data", path).encode())
        return Part(reasoning=ReasoningPart(redacted=True), opaque_state=state)
    if kind == "refusal":
        return Part(refusal=RefusalPart(text=_text(entry, "refusal", path)))
    raise invalid(
        f"{path}.type",
        f"{kind!r} is not known; there are text, image_url, image, document, input_audio, file, "
        "thinking, redacted_thinking and refusal",
    )


def _text(entry: Mapping[str, Any], key: str, path: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise invalid(f"{path}.{key}", "must be text")
    return value


def _breakpoint(value: Any, path: str) -> CacheBreakpoint:
    """Anthropic's cache_control: {"type": "ephemeral", "ttl": "5m" or "1h"}."""
    ttl = value.get("ttl") if isinstance(value, Mapping) else ""
    if ttl is not None and ttl not in _TTL_SECONDS:
        raise invalid(f"{path}.cache_control", 'must be {"type": "ephemeral"}, ttl "5m" or "1h"')
    mark = CacheBreakpoint()
    if ttl is not None:
        mark.ttl.FromSeconds(_TTL_SECONDS[ttl])
    return mark


def as_json(value: Any, path: str) -> str:
    """The JSON text of a value.

    Raises:
        ModelAPIError: it has none.
    """
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid(path, f"is no JSON: {error}") from None
