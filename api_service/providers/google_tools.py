"""Google generateContent: tools and tool choice -> the wire; tool results -> `functionResponse`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, ToolChoiceMode, ToolDefinition

_MODES = {
    ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "AUTO",
    ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "NONE",
    ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "ANY",
}


def put_tools(body: JsonObject, request: GenerateRequest, refusals: Refusals) -> None:
    """Put the request's tools and tool choice into the body.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    if not request.tools:
        return
    declared = [
        _declaration(tool, f"tools[{index}]", refusals) for index, tool in enumerate(request.tools)
    ]
    body["tools"] = [{"functionDeclarations": declared}]
    choice = request.tool_choice
    calling: JsonObject = {}
    if choice.tool_name:
        calling = {"mode": "ANY", "allowedFunctionNames": [choice.tool_name]}
    elif choice.mode in _MODES:
        calling = {"mode": _MODES[choice.mode]}
    # ANY holds calls to their schemas anyhow; VALIDATED does so where the model may also talk.
    if any(tool.strict for tool in request.tools) and calling.get("mode", "AUTO") == "AUTO":
        calling = {"mode": "VALIDATED"}
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}
    if choice.HasField("allow_parallel_calls") and not choice.allow_parallel_calls:
        refusals.refuse(
            "tool_choice.allow_parallel_calls", "Google can't keep a model from parallel calls"
        )


def result_object(texts: Sequence[str], is_error: bool) -> Any:
    """A tool's result as the JSON object that Google demands.

    The text of a JSON object goes as it is; what else a tool gave stands under "result", or under
    "error" where the tool failed.
    """
    text = "\n".join(texts)
    value: Any = text
    if text:
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            value = text
    if isinstance(value, dict) and (not is_error or "error" in value):
        return orjson.Fragment(text)
    if not isinstance(value, str):
        value = orjson.Fragment(text)
    return {"error" if is_error else "result": value}


def _declaration(tool: ToolDefinition, path: str, refusals: Refusals) -> JsonObject:
    declaration: JsonObject = {"name": tool.name}
    if tool.description:
        declaration["description"] = tool.description
    if tool.parameters_json:
        # JSON Schema as given: Google's own form would lose part of it.
        declaration["parametersJsonSchema"] = orjson.Fragment(tool.parameters_json)
    if tool.HasField("cache_breakpoint"):
        refusals.refuse(f"{path}.cache_breakpoint", "Google takes no cache marks")
    return declaration


def _refuse(name: str) -> None:
    raise ValueError(name)
