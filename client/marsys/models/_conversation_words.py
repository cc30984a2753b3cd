"""What a caller says in a conversation, in any of the forms that are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marsys.models._errors import invalid
from marsys.models._functions import Result, as_text


def messages_of(content: Any) -> list[Any]:
    """Text, parts, a message, or a list of messages, as messages."""
    if isinstance(content, Mapping):
        return [content]
    if (
        isinstance(content, list)
        and content
        and all(isinstance(entry, Mapping) and "role" in entry for entry in content)
    ):
        return content
    return [{"role": "user", "content": content}]


def calls_of(message: Any) -> list[Any]:
    """The tool calls of a message; none where it's not the model's."""
    if not isinstance(message, Mapping) or message.get("role") != "assistant":
        return []
    return list(message.get("tool_calls") or ())


def results_of(results: Any, calls: list[Any]) -> list[Result]:
    """A dict of call id -> result, or tool messages, as results of these calls.

    Raises:
        ModelAPIError: it's neither.
    """
    names = {call["id"]: call["function"]["name"] for call in calls}
    if results is None:
        return []
    if isinstance(results, Mapping) and "role" not in results:
        return [
            Result(call_id, names.get(call_id, ""), as_text(value), is_error=False)
            for call_id, value in results.items()
        ]
    entries = [results] if isinstance(results, Mapping) else results
    if not isinstance(entries, (list, tuple)):
        raise invalid("results", "must be a dict of call id to result, or tool messages")
    found = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or entry.get("role") != "tool":
            raise invalid(f"results[{index}]", "must be a message of role tool")
        call_id = str(entry.get("tool_call_id") or "")
        content, is_error = entry.get("content"), bool(entry.get("is_error"))
        found.append(Result(call_id, names.get(call_id, ""), content, is_error))
    return found
