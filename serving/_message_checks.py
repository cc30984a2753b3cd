"""Messages in requests: roles, their order, and what each part may hold."""

from __future__ import annotations

from collections.abc import Sequence

from marsys.v1 import Message, Part, Role, ToolResultPart
from serving._media_checks import check_media
from serving.errors import invalid

_PARTS_OF_ROLE = {
    Role.ROLE_SYSTEM: {"text"},
    Role.ROLE_USER: {"text", "media"},
    Role.ROLE_ASSISTANT: {"text", "media", "reasoning", "tool_call", "refusal", "provider"},
    Role.ROLE_TOOL: {"tool_result"},
}


def check_messages(messages: Sequence[Message], path: str) -> None:
    """Check a conversation.

    Raises:
        ServiceError: there is none, a part is not set or not legal for its role, or the turns are
            in an order that no model could have seen: a tool result without its call, a call
            without its result.
    """
    awaited = _awaited(messages, path)
    if awaited:
        call_id, where = next(iter(awaited.items()))
        raise invalid(path, f"the result of tool call {call_id!r} of {where} is missing")


def open_calls(messages: Sequence[Message], path: str) -> dict[str, str]:
    """Check a conversation whose last tool calls may still be unanswered.

    Returns:
        Those calls, in order: id -> name.

    Raises:
        ServiceError: as check_messages; also where only some of the last calls are answered.
    """
    awaited = _awaited(messages, path)
    if not awaited:
        return {}
    if messages[-1].role != Role.ROLE_ASSISTANT:
        call_id, where = next(iter(awaited.items()))
        raise invalid(path, f"the result of tool call {call_id!r} of {where} is missing")
    calls = (part.tool_call for part in messages[-1].parts if part.HasField("tool_call"))
    return {call.id: call.name for call in calls}


def _awaited(messages: Sequence[Message], path: str) -> dict[str, str]:
    """Check a conversation. Returns the calls that its end leaves unanswered, and their places."""
    if not messages:
        raise invalid(path, "at least one message is needed")
    awaited: dict[str, str] = {}  # unanswered tool calls: id -> where the call stands
    for index, message in enumerate(messages):
        here = f"{path}[{index}]"
        if message.role not in _PARTS_OF_ROLE:
            raise invalid(f"{here}.role", "must be system, user, assistant or tool")
        if awaited and message.role != Role.ROLE_TOOL:
            call_id, where = next(iter(awaited.items()))
            raise invalid(here, f"comes before the result of tool call {call_id!r} of {where}")
        if not message.parts:
            raise invalid(f"{here}.parts", "at least one part is needed")
        if message.HasField("name") and not 0 < len(message.name) <= 64:
            raise invalid(f"{here}.name", "must be 1 to 64 characters")
        for number, part in enumerate(message.parts):
            _check_part(part, message.role, f"{here}.parts[{number}]", awaited)
    return awaited


def _check_part(part: Part, role: Role.ValueType, path: str, awaited: dict[str, str]) -> None:
    kind = part.WhichOneof("content")
    if kind is None:
        raise invalid(path, "has no content")
    if kind not in _PARTS_OF_ROLE[role]:
        name = Role.Name(role).removeprefix("ROLE_").lower()
        raise invalid(f"{path}.{kind}", f"is not allowed in a {name} message")
    if kind == "media":
        check_media(part.media, f"{path}.media")
    elif kind == "tool_call":
        call = part.tool_call
        if not call.id:
            raise invalid(f"{path}.tool_call.id", "must be set")
        if not call.name:
            raise invalid(f"{path}.tool_call.name", "must be set")
        if call.incomplete:
            raise invalid(f"{path}.tool_call.incomplete", "a call that is incomplete can't go back")
        if call.id in awaited:
            raise invalid(f"{path}.tool_call.id", f"{call.id!r} stands twice")
        awaited[call.id] = path
    elif kind == "tool_result":
        _check_tool_result(part.tool_result, f"{path}.tool_result", awaited)


def _check_tool_result(result: ToolResultPart, path: str, awaited: dict[str, str]) -> None:
    if awaited.pop(result.tool_call_id, None) is None:
        raise invalid(
            f"{path}.tool_call_id", f"no open tool call has the id {result.tool_call_id!r}"
        )
    for index, part in enumerate(result.content):
        kind = part.WhichOneof("content")
        if kind not in ("text", "media"):
            raise invalid(f"{path}.content[{index}]", "must be text or media")
        if kind == "media":
            check_media(part.media, f"{path}.content[{index}].media")
