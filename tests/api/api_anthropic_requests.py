"""Requests that clients sent to Anthropic -> GenerateRequest, and what two of them have in common.

`read_request` expresses a recorded body in the contract; what only Anthropic knows (its own tools,
metadata, containers) goes through provider options and provider parts. `as_anthropic_sees` brings a
body to one spelling, so that two that mean the same to Anthropic are equal:

- texts as lists of blocks, not as strings; turns of one role joined; blank texts left out, and
  white space at the very end of an assistant's last turn;
- no `is_error: false`, no `citations: null`, no empty description, no `stream: false`;
- tools in one order.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format

from marsys.v1 import GenerateRequest

ISSUER = "anthropic_messages"
_MODES = {
    "auto": "TOOL_CHOICE_MODE_AUTO",
    "none": "TOOL_CHOICE_MODE_NONE",
    "any": "TOOL_CHOICE_MODE_REQUIRED",
}
_PARAMETERS = {
    "max_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop_sequences": "stopSequences",
}
_TTLS = {"5m": "300s", "1h": "3600s"}


class NotExpressible(Exception):
    """The contract has no words for the request."""


def read_request(body: dict[str, Any]) -> GenerateRequest:
    """The request of the contract that asks for the same.

    Raises:
        NotExpressible: there is none.
    """
    body = as_anthropic_sees(body)
    body.pop("stream", None)
    request: dict[str, Any] = {"model": f"anthropic/{body.pop('model')}", "messages": []}
    options: dict[str, Any] = {}
    system = body.pop("system", [])
    if system:
        request["messages"].append({"role": "ROLE_SYSTEM", "parts": [_text(one) for one in system]})
    for message in body.pop("messages"):
        request["messages"] += _messages(message)
    request["config"] = {ours: body.pop(key) for key, ours in _PARAMETERS.items() if key in body}
    _read_tools(request, options, body)
    _read_reasoning(request, body)
    options |= body
    request["providerOptionsJson"] = {key: json.dumps(value) for key, value in options.items()}
    return json_format.ParseDict(request, GenerateRequest())


def _read_tools(request: dict[str, Any], options: dict[str, Any], body: dict[str, Any]) -> None:
    tools = body.pop("tools", [])
    plain = {"name", "description", "input_schema", "strict", "cache_control"}
    own = [tool for tool in tools if not tool.keys() - plain]
    others = [tool for tool in tools if tool.keys() - plain]
    request["tools"] = [
        {
            "name": tool["name"],
            "description": tool.get("description", ""),
            "parametersJson": json.dumps(tool["input_schema"]),
            **({"strict": True} if tool.get("strict") else {}),
            **_mark(tool),
        }
        for tool in own
    ]
    if others:
        options["tools"] = others
    choice = body.get("tool_choice")
    if choice and own:
        told: dict[str, Any] = {}
        if choice["type"] == "tool":
            told["toolName"] = choice["name"]
        else:
            told["mode"] = _MODES[choice["type"]]
        if "disable_parallel_tool_use" in choice:
            told["allowParallelCalls"] = not choice["disable_parallel_tool_use"]
        request["toolChoice"] = told
        del body["tool_choice"]


def _read_reasoning(request: dict[str, Any], body: dict[str, Any]) -> None:
    thinking = body.get("thinking", {})
    output = dict(body.get("output_config", {}))
    form = output.pop("format", None)
    if form is not None:
        schema = {"schemaJson": json.dumps(form["schema"])}
        request["outputFormat"] = {"jsonSchema": schema}
    if thinking.get("type") == "enabled" and thinking.keys() == {"type", "budget_tokens"}:
        request["config"]["reasoning"] = {"budgetTokens": body.pop("thinking")["budget_tokens"]}
    elif thinking == {"type": "adaptive", "display": "summarized"} and "effort" in output:
        effort = f"REASONING_EFFORT_{output.pop('effort').upper()}"
        request["config"]["reasoning"] = {"effort": effort}
        del body["thinking"]
    body.pop("output_config", None)
    if output:
        body["output_config"] = output


def _messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    role, blocks = message["role"], message["content"]
    if role == "system":
        return [{"role": "ROLE_SYSTEM", "parts": [_text(block) for block in blocks]}]
    if role == "assistant":
        return [{"role": "ROLE_ASSISTANT", "parts": [_assistant(block) for block in blocks]}]
    results = [block for block in blocks if block["type"] == "tool_result"]
    if results != blocks[: len(results)]:
        raise NotExpressible("results after other content")
    found = []
    if results:
        found.append({"role": "ROLE_TOOL", "parts": [_result(block) for block in results]})
    if blocks[len(results) :]:
        parts = [_user(block) for block in blocks[len(results) :]]
        found.append({"role": "ROLE_USER", "parts": parts})
    return found


def _text(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] != "text" or block.keys() - {"type", "text", "cache_control"}:
        raise NotExpressible(f"a {block['type']} block with {sorted(block)}")
    return {"text": {"text": block["text"]}, **_mark(block)}


def _user(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return _text(block)
    source = block.get("source", {})
    if block["type"] not in ("image", "document") or block.keys() - {
        "type", "source", "title", "cache_control",
    }:  # fmt: skip
        raise NotExpressible(f"a {block['type']} block with {sorted(block)}")
    media: dict[str, Any] = {"filename": block.get("title", "")}
    if source["type"] == "base64":
        media |= {"mediaType": source["media_type"], "data": source["data"]}
    elif source["type"] == "text":
        data = base64.b64encode(source["data"].encode()).decode()
        media |= {"mediaType": source["media_type"], "data": data}
    elif source["type"] == "url":
        kind = "application/pdf" if block["type"] == "document" else ""
        media |= {"mediaType": kind, "uri": source["url"]}
    elif source["type"] == "file":
        kind = "image/png" if block["type"] == "image" else ""
        media |= {"mediaType": kind, "fileId": source["file_id"]}
    else:
        raise NotExpressible(f"a source of type {source['type']}")
    return {"media": media, **_mark(block)}


def _assistant(block: dict[str, Any]) -> dict[str, Any]:
    kind = block["type"]
    if kind == "thinking":
        state = {"opaqueState": _state(block["signature"])}
        return {"reasoning": {"text": block["thinking"]}, **state}
    if kind == "redacted_thinking":
        return {"reasoning": {"redacted": True}, "opaqueState": _state(block["data"])}
    kept = {key: block[key] for key in ("citations", "caller") if key in block}
    extra = {"opaqueState": _state(json.dumps(kept))} if kept else {}
    if kind == "text":
        return {"text": {"text": block["text"]}, **_mark(block), **extra}
    if kind == "tool_use":
        arguments = json.dumps(block["input"])
        call = {"id": block["id"], "name": block["name"], "argumentsJson": arguments}
        return {"toolCall": call, **_mark(block), **extra}
    return {"provider": {"issuer": ISSUER, "type": kind, "payloadJson": json.dumps(block)}}


def _result(block: dict[str, Any]) -> dict[str, Any]:
    result = {
        "toolCallId": block["tool_use_id"],
        "content": [_user(one) for one in block.get("content", [])],
        "isError": block.get("is_error", False),
    }
    return {"toolResult": result, **_mark(block)}


def _mark(block: dict[str, Any]) -> dict[str, Any]:
    if "cache_control" not in block:
        return {}
    ttl = block["cache_control"].get("ttl")
    return {"cacheBreakpoint": {"ttl": _TTLS[ttl]} if ttl else {}}


def _state(text: str) -> dict[str, Any]:
    return {"issuer": ISSUER, "data": base64.b64encode(text.encode()).decode()}


def as_anthropic_sees(body: dict[str, Any]) -> dict[str, Any]:
    """The body in one spelling; see above. The one given is left as it is."""
    seen: dict[str, Any] = json.loads(json.dumps(body))
    if not seen.get("stream"):
        seen.pop("stream", None)
    system = _blocks(seen.pop("system", []))
    if system:
        seen["system"] = system
    turns: list[dict[str, Any]] = []
    for message in seen["messages"]:
        blocks = _blocks(message["content"])
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": message["role"], "content": blocks})
    last = turns[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
    seen["messages"] = turns
    if "tools" in seen:
        seen["tools"] = sorted(
            map(_tool, seen["tools"]), key=lambda tool: json.dumps(tool, sort_keys=True)
        )
    return seen


def without_defaults(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our body without what the service adds by itself where the caller sets nothing."""
    rest = dict(ours)
    if "temperature" not in theirs and rest.get("temperature") == 0.7:
        del rest["temperature"]
    if "thinking" not in theirs:
        rest.pop("thinking", None)
    output, given = dict(rest.pop("output_config", {})), theirs.get("output_config", {})
    if "effort" not in given:
        output.pop("effort", None)
    return rest | ({"output_config": output} if output else {})


def clash_of(body: dict[str, Any]) -> str:
    """Why Anthropic would refuse a body for two of its fields; empty where it wouldn't."""
    thinking = body.get("thinking", {})
    if thinking.get("type", "disabled") == "disabled":
        one = "claude-3" in body["model"] or not {"temperature", "top_p"} <= body.keys()
        return "" if one else "temperature and top_p"
    if body.get("temperature", 1) != 1 or body.get("top_p", 1) < 0.95 or "top_k" in body:
        return "sampling and thinking"
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return "a forced call and thinking"
    if thinking.get("budget_tokens", 0) >= body["max_tokens"]:
        return "a budget above max_tokens"
    return ""


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    found = [_block(block) for block in content]
    return [block for block in found if block["type"] != "text" or block["text"].strip()]


def _block(block: dict[str, Any]) -> dict[str, Any]:
    block = dict(block)
    if block["type"] == "tool_result":
        block["content"] = _blocks(block.get("content") or [])
        if not block["content"]:
            del block["content"]
    if not block.get("is_error", True):
        del block["is_error"]
    if block.get("citations", True) is None:
        del block["citations"]
    return block


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tool.items() if key != "description" or value}
