"""Requests that clients sent over Chat Completions -> GenerateRequest, and what two have in common.

`read_request` expresses a recorded body in the contract; what only one provider knows goes through
provider options. `as_sent` brings a body to one spelling, so that two that mean the same are equal:

- content of one text as a string; no `content: null` or `[]` beside tool calls;
- no `stream: false`, `n: 1`, `top_p: 1`, which are what is meant anyway;
- tools and calls with their type; no `strict: false`, no null or empty description;
- the reasoning text under one of the names that servers have for it;
- `required` and `any`, which mean the same to different servers.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format

from marsys.v1 import GenerateRequest

ISSUER = "openai_chat"
_PARAMETERS = {
    "max_tokens": "maxTokens",
    "max_completion_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "prompt_cache_key": "promptCacheKey",
}
_MODES = {
    "auto": "TOOL_CHOICE_MODE_AUTO",
    "none": "TOOL_CHOICE_MODE_NONE",
    "required": "TOOL_CHOICE_MODE_REQUIRED",
}
_NEUTRAL = {"stream": False, "n": 1, "top_p": 1.0}


class NotExpressible(Exception):
    """The contract has no words for the request."""


def read_request(provider: str, body: dict[str, Any], base_url: str = "") -> GenerateRequest:
    """The request of the contract that asks for the same.

    Args:
        provider: the provider that it was sent to; "custom" for any that the service doesn't know.
        body: the recorded body.
        base_url: the address, of a custom provider.

    Raises:
        NotExpressible: there is none.
    """
    body = as_sent(body)
    for key in ("stream", "stream_options"):
        body.pop(key, None)
    request: dict[str, Any] = {"messages": [], "config": {}}
    request["model"] = body.pop("model")
    request["target"] = {"provider": provider, **({"baseUrl": base_url} if base_url else {})}
    request["messages"] = [_message(message) for message in body.pop("messages")]
    options: dict[str, Any] = {"api": "chat_completions"} if provider == "openai" else {}
    for key, ours in _PARAMETERS.items():
        if key in body and not (key == "prompt_cache_key" and provider != "openai"):
            request["config"][ours] = body.pop(key)
    if "stop" in body:
        stop = body.pop("stop")
        request["config"]["stopSequences"] = [stop] if isinstance(stop, str) else stop
    _read_tools(request, options, body)
    _read_format(request, body)
    options |= body
    request["providerOptionsJson"] = {key: json.dumps(value) for key, value in options.items()}
    return json_format.ParseDict(request, GenerateRequest())


def _message(message: dict[str, Any]) -> dict[str, Any]:
    role = message["role"]
    known = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning",
             "reasoning_details"}  # fmt: skip
    if message.keys() - known:
        raise NotExpressible(f"a message with {sorted(message.keys() - known)}")
    extra = {"name": message["name"]} if "name" in message else {}
    if role == "tool":
        content = [_part(part) for part in _parts(message["content"])]
        result = {"toolCallId": message["tool_call_id"], "content": content}
        return {"role": "ROLE_TOOL", "parts": [{"toolResult": result}], **extra}
    parts = [_part(part) for part in _parts(message.get("content"))]
    if role != "assistant":
        name = "ROLE_SYSTEM" if role in ("system", "developer") else "ROLE_USER"
        return {"role": name, "parts": parts, **extra}
    if "reasoning_details" in message:
        raise NotExpressible("reasoning details without their answer")
    if "reasoning" in message:
        parts.insert(0, {"reasoning": {"text": message["reasoning"]}})
    for call in message.get("tool_calls", ()):
        function = call["function"]
        told = {
            "id": call["id"],
            "name": function["name"],
            "argumentsJson": function.get("arguments", ""),
        }
        if call.keys() - {"id", "type", "function", "index"}:
            raise NotExpressible(f"a tool call with {sorted(call)}")
        parts.append({"toolCall": told})
    return {"role": "ROLE_ASSISTANT", "parts": parts, **extra}


def _parts(content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text" and part.keys() == {"type", "text"}:
        return {"text": {"text": part["text"]}}
    if kind == "text" and part.get("prompt_cache_breakpoint") == {"mode": "explicit"}:
        return {"text": {"text": part["text"]}, "cacheBreakpoint": {}}
    if kind == "image_url":
        image = part["image_url"]
        detail = image.get("detail")
        level = {"detail": f"MEDIA_DETAIL_{detail.upper()}"} if detail else {}
        return {"media": {"uri": image["url"], **level}}
    if kind == "file" and "file_data" in part["file"]:
        file = part["file"]
        media = {"uri": file["file_data"], "filename": file.get("filename", "")}
        if not file["file_data"].startswith("data:"):
            media["mediaType"] = "application/pdf"
        return {"media": media}
    if kind == "input_audio":
        audio = part["input_audio"]
        kinds = {"wav": "audio/wav", "mp3": "audio/mpeg"}
        return {"media": {"mediaType": kinds[audio["format"]], "data": audio["data"]}}
    raise NotExpressible(f"a part of type {kind} with {sorted(part)}")


def _read_tools(request: dict[str, Any], options: dict[str, Any], body: dict[str, Any]) -> None:
    tools = body.pop("tools", [])
    if any(tool["type"] != "function" for tool in tools):
        options["tools"] = tools
        return
    request["tools"] = [
        {
            "name": tool["function"]["name"],
            "description": tool["function"].get("description", ""),
            "parametersJson": json.dumps(tool["function"]["parameters"]),
            **({"strict": True} if tool["function"].get("strict") else {}),
        }
        for tool in tools
    ]
    choice = body.pop("tool_choice", None)
    if choice is not None:
        if isinstance(choice, str):
            request["toolChoice"] = {"mode": _MODES[choice]}
        else:
            request["toolChoice"] = {"toolName": choice["function"]["name"]}
    if "parallel_tool_calls" in body:
        allowed = body.pop("parallel_tool_calls")
        request.setdefault("toolChoice", {})["allowParallelCalls"] = allowed


def _read_format(request: dict[str, Any], body: dict[str, Any]) -> None:
    form = body.get("response_format")
    if form == {"type": "json_object"}:
        request["outputFormat"] = {"jsonObject": {}}
    elif form and form["type"] == "json_schema":
        schema = form["json_schema"]
        request["outputFormat"] = {
            "jsonSchema": {
                "schemaJson": json.dumps(schema["schema"]),
                "name": schema["name"],
                "strict": schema.get("strict", False),
                **({"description": schema["description"]} if "description" in schema else {}),
            }
        }
    else:
        return
    del body["response_format"]


def as_sent(body: dict[str, Any]) -> dict[str, Any]:
    """The body in one spelling; see above. The one given is left as it is."""
    seen: dict[str, Any] = json.loads(json.dumps(body))
    seen = {key: value for key, value in seen.items() if value != _NEUTRAL.get(key, _NEUTRAL)}
    seen["messages"] = [_spelled(message) for message in seen["messages"]]
    if seen.get("tools"):
        seen["tools"] = [_tool(tool) for tool in seen["tools"]]
    choice = seen.get("tool_choice")
    if choice == "any":
        seen["tool_choice"] = "required"
    elif isinstance(choice, dict):
        seen["tool_choice"] = {"type": "function", **choice}
    schema = (seen.get("response_format") or {}).get("json_schema")
    if schema and not schema.get("strict"):
        schema.pop("strict", None)
    return seen


def without_defaults(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our body without what the service adds by itself where the caller sets nothing."""
    defaults = {"max_tokens": 8192, "max_completion_tokens": 8192, "temperature": 0.7}
    rest = dict(ours)
    for key, value in defaults.items():
        if key not in theirs and rest.get(key) in (value, 4096 if "max" in key else value):
            del rest[key]
    for key in ("reasoning_effort", "reasoning", "stream_options"):
        if key not in theirs:
            rest.pop(key, None)
    if "stream_options" not in rest:
        theirs.pop("stream_options", None)  # some always tell the usage
    return rest


def _spelled(message: dict[str, Any]) -> dict[str, Any]:
    message = {key: value for key, value in message.items() if value is not None}
    message.pop("prefix", None) if not message.get("prefix") else None
    content = message.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
        message["content"] = content[0]["text"]
    if not message.get("content", "x") and message.get("tool_calls"):
        del message["content"]
    for part in content if isinstance(content, list) else ():
        if part.get("type") == "file":
            part["file"].setdefault("filename", "document")
    for call in message.get("tool_calls", ()):
        call.setdefault("type", "function")
        call.pop("index", None)
        call["function"]["arguments"] = call["function"].get("arguments") or "{}"
    return message


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" not in tool:
        return tool
    function = {key: value for key, value in tool["function"].items() if value not in (None, "")}
    if not function.get("strict"):
        function.pop("strict", None)
    return {"type": "function", "function": function}
