"""Anthropic Messages: tools and tool choice."""

from __future__ import annotations

import json
from functools import lru_cache

import orjson

from api_service.providers.anthropic_messages import TurnEncoder
from api_service.providers.anthropic_schema import NotEnforceable, enforced_schema
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, ToolChoice, ToolChoiceMode, ToolDefinition
from serving.errors import invalid

_NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}
_MODES = {
    ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "none",
    ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "any",
}


def is_forced(choice: ToolChoice) -> bool:
    """Whether the model must call a tool."""
    required = choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED
    return bool(choice.tool_name) or required


def put_tools(
    body: JsonObject, request: GenerateRequest, turns: TurnEncoder, refusals: Refusals
) -> None:
    """Put the request's tools and tool choice into the body.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    if not request.tools:
        return
    body["tools"] = [
        _tool(tool, f"tools[{index}]", refusals) | turns.mark(tool, f"tools[{index}]")
        for index, tool in enumerate(request.tools)
    ]
    choice = request.tool_choice
    wire: JsonObject = {}
    if choice.tool_name:
        wire = {"type": "tool", "name": choice.tool_name}
    elif choice.mode in _MODES:
        wire = {"type": _MODES[choice.mode]}
    if choice.HasField("allow_parallel_calls") and wire.get("type") != "none":
        wire.setdefault("type", "auto")
        wire["disable_parallel_tool_use"] = not choice.allow_parallel_calls
    if wire:
        body["tool_choice"] = wire


def _tool(tool: ToolDefinition, path: str, refusals: Refusals) -> JsonObject:
    item: JsonObject = {"name": tool.name}
    if tool.description:
        item["description"] = tool.description
    item["input_schema"] = _NO_PARAMETERS
    if tool.parameters_json:
        schema = _of_object(tool.parameters_json)
        if not schema:
            raise invalid(f"{path}.parameters_json", 'must be of type "object"')
        item["input_schema"] = orjson.Fragment(schema)
    if tool.strict:
        try:
            enforced, moved = enforced_schema(
                json.loads(tool.parameters_json) if tool.parameters_json else _NO_PARAMETERS
            )
        except NotEnforceable as error:
            refusals.refuse(f"{path}.strict", f"the schema can't be strict: {error}")
            return item
        if moved:
            refusals.adjust(f"{path}.parameters_json", _told(moved))
        item["input_schema"] = orjson.Fragment(json.dumps({"type": "object"} | enforced))
        item["strict"] = True
    return item


@lru_cache(maxsize=512)
def _of_object(text: str) -> str:
    """The schema, which must say that it is an object's; empty: it says otherwise."""
    schema = json.loads(text)
    if "type" not in schema:
        return json.dumps({"type": "object"} | schema)
    return text if schema["type"] == "object" else ""


def _told(moved: list[str]) -> str:
    return f"{', '.join(moved)} can't be enforced and became description"
