"""Tool definitions and tool choices, in OpenAI's or Anthropic's form -> the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marsys.models._errors import invalid
from marsys.models._messages import as_json
from marsys.v1 import ToolChoice, ToolChoiceMode, ToolDefinition

_MODES = {
    "auto": ToolChoiceMode.TOOL_CHOICE_MODE_AUTO,
    "none": ToolChoiceMode.TOOL_CHOICE_MODE_NONE,
    "required": ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED,
    "any": ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED,
}


def to_tools(tools: Any) -> list[ToolDefinition]:
    """Tool definitions.

    Args:
        tools: list of OpenAI's {"type": "function", "function": {"name", "description",
            "parameters", "strict"}}, the same without the inner level, or Anthropic's {"name",
            "description", "input_schema"}.

    Raises:
        ModelAPIError: one can't be read.
    """
    if not isinstance(tools, (list, tuple)):
        raise invalid("tools", "must be a list")
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def to_tool_choice(choice: Any, parallel: bool | None, has_tools: bool) -> ToolChoice | None:
    """The tool choice; None where nothing is to be said.

    Args:
        choice: "auto", "none", "required" or "any", a tool's name, or OpenAI's or Anthropic's
            object; None: not set.
        parallel: whether several tools may be called in one turn; None: not set.
        has_tools: whether there are tools to choose from.

    Raises:
        ModelAPIError: it can't be read.
    """
    chosen = ToolChoice()
    if choice is not None:
        word = _word(choice)
        if word in _MODES and not isinstance(choice, Mapping):
            chosen.mode = _MODES[word]
        elif isinstance(choice, Mapping) and choice.get("type") in _MODES:
            chosen.mode = _MODES[choice["type"]]
        elif word:
            chosen.tool_name = word
        else:
            raise invalid("tool_choice", "must be auto, none, required or a tool's name")
        if not has_tools and chosen.mode in (_MODES["auto"], _MODES["none"]) and parallel is None:
            return None  # without tools these two say nothing
    if parallel is not None:
        if choice is None:
            chosen.mode = ToolChoiceMode.TOOL_CHOICE_MODE_AUTO
        chosen.allow_parallel_calls = parallel
    return chosen if chosen.WhichOneof("choice") else None


def _word(choice: Any) -> str:
    if isinstance(choice, str):
        return choice
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        return name if isinstance(name, str) else ""
    return ""


def _tool(tool: Any, path: str) -> ToolDefinition:
    if not isinstance(tool, Mapping):
        raise invalid(path, "must be an object")
    if "function" in tool:
        facts, path = tool["function"], f"{path}.function"
        if not isinstance(facts, Mapping):
            raise invalid(path, "must be an object")
    elif tool.get("type") in (None, "function", "custom"):
        facts = tool
    else:
        raise invalid(
            f"{path}.type",
            f"{tool['type']!r} is no function; give a provider's own tools as its option",
        )
    if not facts.get("name"):
        raise invalid(f"{path}.name", "must be set")
    definition = ToolDefinition(name=str(facts["name"]), description=facts.get("description") or "")
    schema = facts.get("parameters", facts.get("input_schema"))
    if schema is not None:
        definition.parameters_json = as_json(schema, f"{path}.parameters")
    if facts.get("strict") is not None:
        definition.strict = bool(facts["strict"])
    return definition
