"""OpenAI Responses: tools and tool choice."""

from __future__ import annotations

import json

import orjson

from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject
from api_service.providers.strict_schema import NotStrict, strict_schema
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, ToolChoiceMode, ToolDefinition

_NO_PARAMETERS = '{"type":"object","properties":{}}'
_MODES = {
    ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "auto",
    ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "none",
    ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "required",
}


def put_tools(
    body: JsonObject, request: GenerateRequest, upstream: Upstream, refusals: Refusals
) -> None:
    """Put the request's tools and tool choice into the body.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    if not request.tools:
        return
    body["tools"] = [
        _tool(tool, f"tools[{index}]", upstream, refusals)
        for index, tool in enumerate(request.tools)
    ]
    choice = request.tool_choice
    if choice.tool_name:
        body["tool_choice"] = {"type": "function", "name": choice.tool_name}
    elif choice.mode in _MODES:
        body["tool_choice"] = _MODES[choice.mode]
    if choice.HasField("allow_parallel_calls"):
        body["parallel_tool_calls"] = choice.allow_parallel_calls


def _tool(tool: ToolDefinition, path: str, upstream: Upstream, refusals: Refusals) -> JsonObject:
    item: JsonObject = {"type": "function", "name": tool.name}
    if tool.description:
        item["description"] = tool.description
    item["parameters"] = orjson.Fragment(tool.parameters_json or _NO_PARAMETERS)
    item["strict"] = False  # strict is what the provider does where the key is missing
    if tool.strict and not upstream.row.strict_tools:
        refusals.refuse(f"{path}.strict", f"{upstream.row.name} has no strict tools")
    elif tool.strict:
        try:
            item["parameters"] = strict_schema(json.loads(tool.parameters_json or _NO_PARAMETERS))
            item["strict"] = True
        except NotStrict as error:
            refusals.refuse(f"{path}.strict", f"the schema can't be strict: {error}")
    if tool.HasField("cache_breakpoint"):
        refusals.refuse(f"{path}.cache_breakpoint", "tools take no cache mark on this wire")
    return item
