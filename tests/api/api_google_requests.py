"""Requests that clients sent to Google -> GenerateRequest, and what two of them have in common.

`read_request` expresses a recorded body in the contract; what only Google knows (its own tools,
options such as labels) goes through provider options and provider parts. `as_google_sees` brings a
body to one spelling, so that two that mean the same to Google are equal:

- names in camelCase, signatures in one alphabet of base64, types of schemas in lower case;
- no empty `generationConfig`, no role of the system instruction, no empty description, no empty
  parameters of a function;
- texts that are merged or not: contents of one role are joined, except those of tool results;
- a list of allowed functions that names all of them is none;
- the signature that skips validation is left out, where a client put it in for models that don't
  ask for one.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from google.protobuf import json_format

from api_service.providers.google_state import NO_SIGNATURE
from marsys.v1 import GenerateRequest

ISSUER = "google_generate_content"
DEFAULTS = {"maxOutputTokens": 8192, "temperature": 0.7}
_PARAMETERS = {
    "temperature": "temperature",
    "topP": "topP",
    "topK": "topK",
    "maxOutputTokens": "maxTokens",
    "seed": "seed",
    "frequencyPenalty": "frequencyPenalty",
    "presencePenalty": "presencePenalty",
    "stopSequences": "stopSequences",
}
_MODES = {
    "AUTO": "TOOL_CHOICE_MODE_AUTO",
    "NONE": "TOOL_CHOICE_MODE_NONE",
    "ANY": "TOOL_CHOICE_MODE_REQUIRED",
}


class NotExpressible(Exception):
    """The contract has no words for the request."""


def read_request(uri: str, body: dict[str, Any]) -> GenerateRequest:
    """The request of the contract that asks for the same.

    Raises:
        NotExpressible: there is none.
    """
    body = as_google_sees(body)
    match = re.search(r"/(?:models|(tunedModels))/([^:]+):", uri)
    if match is None:
        raise NotExpressible("the address names no model")
    name = f"tunedModels/{match[2]}" if match[1] else match[2]
    request: dict[str, Any] = {"model": f"google/{name}", "messages": []}
    options: dict[str, Any] = {}
    system = body.pop("systemInstruction", None)
    if system:
        parts = [{"text": {"text": part["text"]}} for part in system["parts"]]
        request["messages"].append({"role": "ROLE_SYSTEM", "parts": parts})
    _read_contents(request, body.pop("contents"))
    _read_tools(request, options, body.pop("tools", []), body.pop("toolConfig", {}))
    _read_config(request, options, body.pop("generationConfig", {}))
    options |= body
    request["providerOptionsJson"] = {key: json.dumps(value) for key, value in options.items()}
    return json_format.ParseDict(request, GenerateRequest())


def _read_contents(request: dict[str, Any], contents: list[dict[str, Any]]) -> None:
    waiting: list[tuple[str, str]] = []  # (id, name) of calls without a result
    for content in contents:
        if content.get("role") == "model":
            parts = [_model_part(part, waiting) for part in content["parts"]]
            request["messages"].append({"role": "ROLE_ASSISTANT", "parts": parts})
            continue
        results = [part for part in content["parts"] if "functionResponse" in part]
        others = [part for part in content["parts"] if "functionResponse" not in part]
        if results:
            found = [_result(part["functionResponse"], waiting) for part in results]
            request["messages"].append({"role": "ROLE_TOOL", "parts": found})
        if others:
            parts = [_user_part(part) for part in others]
            request["messages"].append({"role": "ROLE_USER", "parts": parts})


def _user_part(part: dict[str, Any]) -> dict[str, Any]:
    if part.keys() == {"text"}:
        return {"text": {"text": part["text"]}}
    if part.keys() == {"inlineData"}:
        media = part["inlineData"]
        return {"media": {"mediaType": media["mimeType"], "data": _standard(media["data"])}}
    if part.keys() == {"fileData"}:
        file = part["fileData"]
        public = file["fileUri"].startswith(("https://", "http://"))
        source = "uri" if public else "fileId"
        return {"media": {"mediaType": file.get("mimeType", ""), source: file["fileUri"]}}
    raise NotExpressible(f"a user's part with {sorted(part)}")


def _model_part(part: dict[str, Any], waiting: list[tuple[str, str]]) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if part.get("thoughtSignature"):
        data = base64.b64encode(part["thoughtSignature"].encode()).decode()
        extra["opaqueState"] = {"issuer": ISSUER, "data": data}
    kinds = part.keys() - {"thoughtSignature", "thought"}
    if kinds == {"text"}:
        if part.get("thought"):
            return {"reasoning": {"text": part["text"]}, **extra}
        return {"text": {"text": part["text"]}, **extra}
    if kinds == {"functionCall"} and not part["functionCall"].keys() - {"id", "name", "args"}:
        call = part["functionCall"]
        call_id = call.get("id") or f"marsys_call_{len(waiting)}"
        waiting.append((call_id, call["name"]))
        arguments = json.dumps(call.get("args", {}))
        told = {"id": call_id, "name": call["name"], "argumentsJson": arguments}
        return {"toolCall": told, **extra}
    if kinds == {"inlineData"} and not part.get("thought"):
        return _user_part({"inlineData": part["inlineData"]}) | extra
    kind = next(iter(sorted(kinds)), "thoughtSignature")
    block = {"issuer": ISSUER, "type": kind, "payloadJson": json.dumps(part)}
    return {"provider": block}


def _result(response: dict[str, Any], waiting: list[tuple[str, str]]) -> dict[str, Any]:
    if response.keys() - {"id", "name", "response", "parts"}:
        raise NotExpressible(f"a function response with {sorted(response)}")
    for index, (call_id, name) in enumerate(waiting):
        if response.get("id") == call_id or (not response.get("id") and name == response["name"]):
            del waiting[index]
            break
    else:
        raise NotExpressible("a result without its call")
    value = response["response"]
    failed = value.keys() == {"error"} and isinstance(value["error"], str)
    text = value["error"] if failed else json.dumps(value)
    content = [{"text": {"text": text}}, *map(_user_part, response.get("parts", []))]
    result = {"toolCallId": call_id, "name": response["name"], "content": content}
    return {"toolResult": result | ({"isError": True} if failed else {})}


def _read_tools(
    request: dict[str, Any],
    options: dict[str, Any],
    tools: list[dict[str, Any]],
    config: dict[str, Any],
) -> None:
    declared = [one for tool in tools for one in tool.get("functionDeclarations", [])]
    others = [tool for tool in tools if "functionDeclarations" not in tool]
    calling = dict(config.get("functionCallingConfig", {}))
    rest = {key: value for key, value in config.items() if key != "functionCallingConfig"}
    strict = calling.get("mode") == "VALIDATED" and "allowedFunctionNames" not in calling
    request["tools"] = []
    for function in declared:
        if function.keys() - {"name", "description", "parametersJsonSchema"}:
            raise NotExpressible(f"a function with {sorted(function)}")
        tool = {"name": function["name"], "description": function.get("description", "")}
        if "parametersJsonSchema" in function:
            tool["parametersJson"] = json.dumps(function["parametersJsonSchema"])
        request["tools"].append(tool | ({"strict": True} if strict else {}))
    if others:
        options["tools"] = others
    allowed = calling.pop("allowedFunctionNames", [])
    mode = calling.get("mode")
    if mode == "ANY" and len(allowed) == 1:
        request["toolChoice"] = {"toolName": allowed[0]}
    elif allowed or (calling and mode not in (*_MODES, "VALIDATED")):
        rest["functionCallingConfig"] = config["functionCallingConfig"]
    elif mode in _MODES and declared:
        request["toolChoice"] = {"mode": _MODES[mode]}
    if rest:
        options["toolConfig"] = rest


def _read_config(request: dict[str, Any], options: dict[str, Any], config: dict[str, Any]) -> None:
    wanted = {ours: config.pop(wire) for wire, ours in _PARAMETERS.items() if wire in config}
    thinking = config.get("thinkingConfig", {})
    if thinking.keys() == {"includeThoughts", "thinkingBudget"} and thinking["includeThoughts"]:
        wanted["reasoning"] = {"budgetTokens": config.pop("thinkingConfig")["thinkingBudget"]}
    elif thinking.keys() == {"includeThoughts", "thinkingLevel"} and thinking["includeThoughts"]:
        level = config.pop("thinkingConfig")["thinkingLevel"].upper()
        wanted["reasoning"] = {"effort": f"REASONING_EFFORT_{level}"}
    request["config"] = wanted
    schema = config.pop("responseJsonSchema", None)
    if config.get("responseMimeType") == "application/json" and "responseSchema" not in config:
        del config["responseMimeType"]
        request["outputFormat"] = (
            {"jsonObject": {}}
            if schema is None
            else {"jsonSchema": {"schemaJson": json.dumps(schema), "strict": False}}
        )
    elif schema is not None:
        config["responseJsonSchema"] = schema
    if config:
        options["generationConfig"] = config


def as_google_sees(body: dict[str, Any]) -> dict[str, Any]:
    """The body in one spelling; see above. The one given is left as it is."""
    seen = {_camel(key): value for key, value in json.loads(json.dumps(body)).items()}
    if "systemInstruction" in seen:
        seen["systemInstruction"].pop("role", None)
    seen["contents"] = _merged([_content(content) for content in seen["contents"]])
    config = {_camel(key): value for key, value in seen.pop("generationConfig", {}).items()}
    if "thinkingConfig" in config:
        config["thinkingConfig"] = _camel_keys(config["thinkingConfig"])
    if config:
        seen["generationConfig"] = config
    tools = [_tool(tool) for tool in seen.pop("tools", [])]
    if tools:
        seen["tools"] = sorted(tools, key=lambda tool: sorted(tool))
    names = {one["name"] for tool in tools for one in tool.get("functionDeclarations", [])}
    tool_config = _camel_keys(seen.pop("toolConfig", {}))
    calling = _camel_keys(tool_config.pop("functionCallingConfig", {}))
    if set(calling.get("allowedFunctionNames", [])) == names and len(names) > 1:
        del calling["allowedFunctionNames"]
    if calling:
        tool_config["functionCallingConfig"] = calling
    if tool_config:
        seen["toolConfig"] = tool_config
    return seen


def without_defaults(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our body without what the service adds by itself where the caller sets nothing."""
    config, given = dict(ours.get("generationConfig", {})), theirs.get("generationConfig", {})
    for key, value in DEFAULTS.items():
        if key not in given and config.get(key) == value:
            del config[key]
    if "thinkingConfig" not in given:
        config.pop("thinkingConfig", None)
    rest = {key: value for key, value in ours.items() if key != "generationConfig"}
    return rest | ({"generationConfig": config} if config else {})


def _content(content: dict[str, Any]) -> dict[str, Any]:
    parts = [_part(part) for part in content["parts"]]
    return {"role": content.get("role", "user"), "parts": parts}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    part = _camel_keys(part)
    for key in ("inlineData", "fileData", "functionResponse", "functionCall", "toolCall"):
        if key in part:
            part[key] = _camel_keys(part[key])
    signature = part.pop("thoughtSignature", "")
    if signature and _standard(signature) != NO_SIGNATURE:
        part["thoughtSignature"] = _standard(signature)
    if "inlineData" in part:
        part["inlineData"]["data"] = _standard(part["inlineData"]["data"])
    return part


def _merged(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for content in contents:
        last = merged[-1] if merged else {}
        results = any("functionResponse" in part for part in content["parts"])
        alike = last.get("role") == content["role"]
        if alike and not results and not any("functionResponse" in p for p in last["parts"]):
            last["parts"] += content["parts"]
        else:
            merged.append(content)
    return merged


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    tool = _camel_keys(tool)
    for function in tool.get("functionDeclarations", []):
        for key in list(function):
            function[_camel(key)] = function.pop(key)
        if not function.get("description"):
            function.pop("description", None)
        schema = function.pop("parameters", None) or function.pop("parametersJsonSchema", None)
        if schema:
            schema = _lower_types(schema)
        if schema and schema.get("properties"):
            function["parametersJsonSchema"] = schema
    return tool


def _lower_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lower_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _lower_types(value) for key, value in schema.items()}
    if isinstance(result.get("type"), str):
        result["type"] = result["type"].lower()
    return result


def _camel_keys(value: dict[str, Any]) -> dict[str, Any]:
    return {_camel(key): item for key, item in value.items()}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def _standard(text: str) -> str:
    """Base64 in the standard alphabet, padded."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    return plain + "=" * (-len(plain) % 4)
