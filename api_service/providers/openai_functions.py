"""OpenAI: functions that the model may call, alike in Chat Completions and Responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject
from api_service.providers.strict_schema import NotStrict, strict_schema
from api_service.providers.unsupported import Refusals
from marsys.v1 import ToolChoiceMode, ToolDefinition

_NO_PARAMETERS = orjson.Fragment(b'{"type":"object","properties":{}}')

CHOICE_MODES: Mapping[ToolChoiceMode.ValueType, str] = {
    ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "none",
    ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "required",
}
"""The rules of tool choice, as `tool_choice` says them."""


def function_of(
    tool: ToolDefinition, path: str, upstream: Upstream, refusals: Refusals
) -> JsonObject:
    """{"name", "description", "parameters", "strict"}, the last only where it is true.

    Args:
        tool: the tool.
        path: its place in the request, such as "tools[0]".
        upstream: whom it goes to.
        refusals: what to do with what isn't taken.

    Raises:
        ServiceError: something set can't be honoured.
    """
    parameters: Any = _NO_PARAMETERS
    if tool.parameters_json:
        parameters = orjson.Fragment(tool.parameters_json)
    function: JsonObject = {"name": tool.name, "parameters": parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        if not upstream.row.strict_tools:
            refusals.refuse(f"{path}.strict", f"{upstream.row.name} has no strict tools")
        else:
            schema = json.loads(tool.parameters_json or '{"type":"object","properties":{}}')
            try:
                function["parameters"] = strict_schema(schema)
                function["strict"] = True
            except NotStrict as error:
                refusals.refuse(f"{path}.strict", f"the schema can't be strict: {error}")
    if tool.HasField("cache_breakpoint"):
        refusals.refuse(f"{path}.cache_breakpoint", "tools take no cache mark on this wire")
    return function
