"""Requests that clients sent to OpenAI Responses -> GenerateRequest, and what they have in common.

`read_request` expresses a recorded body in the contract; what only OpenAI knows (its own tools,
stored conversations, background mode) goes through provider options and provider parts.
`as_openai_sees` brings a body to one spelling, so that two that mean the same to OpenAI are equal:

- instructions as the first system message, developers as systems, contents as lists of parts;
- what is the provider's default is left out or told everywhere: tool choice "auto", plain text as
  the form, detail "auto", no annotations, `store`; null is the same as nothing;
- ids and statuses of tool results, and probabilities of tokens, are not read by a model;
- tools and `include` in one order, and the demanded properties of schemas too.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format

from marsys.v1 import GenerateRequest

ISSUER = "openai_responses"
_PARAMETERS = {
    "max_output_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "prompt_cache_key": "promptCacheKey",
}
_MODES = {
    "auto": "TOOL_CHOICE_MODE_AUTO",
    "none": "TOOL_CHOICE_MODE_NONE",
    "required": "TOOL_CHOICE_MODE_REQUIRED",
}
_FUNCTION_KEYS = {"type", "name", "description", "parameters", "strict"}
_DETAILS = {"low": "MEDIA_DETAIL_LOW", "high": "MEDIA_DETAIL_HIGH"}
_TTLS = {"30m": "1800s", "12h": "43200s"}


class NotExpressible(Exception):
    """The contract has no words for the request."""


def read_request(body: dict[str, Any]) -> GenerateRequest:
    """The request of the contract that asks for the same.

    Raises:
        NotExpressible: there is none.
    """
    body = as_openai_sees(body)
    request: dict[str, Any] = {"model": f"openai/{body.pop('model')}"}
    request["messages"] = _messages(body.pop("input"))
    request["config"] = {ours: body.pop(key) for key, ours in _PARAMETERS.items() if key in body}
    if not body["store"]:
        del body["store"]
    _read_tools(request, body)
    _read_reasoning(request, body)
    _read_format(request, body)
    request["providerOptionsJson"] = {key: json.dumps(value) for key, value in body.items()}
    return json_format.ParseDict(request, GenerateRequest())


def _read_tools(request: dict[str, Any], body: dict[str, Any]) -> None:
    tools = body.pop("tools", [])
    others = [tool for tool in tools if not _is_function(tool)]
    request["tools"] = [
        {
            "name": tool["name"],
            "description": tool.get("description", ""),
            "parametersJson": json.dumps(tool["parameters"]),
            "strict": tool["strict"],
        }
        for tool in tools
        if _is_function(tool)
    ]
    if others:
        body["tools"] = others
    if not request["tools"]:
        return
    told: dict[str, Any] = {}
    choice = body.get("tool_choice")
    if isinstance(choice, str):
        told["mode"] = _MODES[body.pop("tool_choice")]
    elif choice and choice.keys() == {"type", "name"} and choice["type"] == "function":
        told["toolName"] = body.pop("tool_choice")["name"]
    if "parallel_tool_calls" in body:
        told["allowParallelCalls"] = body.pop("parallel_tool_calls")
        told.setdefault("mode", _MODES["auto"])
    if told:
        request["toolChoice"] = told


def _is_function(tool: dict[str, Any]) -> bool:
    plain = tool["type"] == "function" and not tool.keys() - _FUNCTION_KEYS
    return plain and "parameters" in tool and "strict" in tool


def _read_reasoning(request: dict[str, Any], body: dict[str, Any]) -> None:
    reasoning = body.pop("reasoning", {})
    if "effort" in reasoning:
        effort = f"REASONING_EFFORT_{reasoning.pop('effort').upper()}"
        request["config"]["reasoning"] = {"effort": effort}
        if reasoning.get("summary") == "auto":  # so says the service by itself
            del reasoning["summary"]
    if reasoning:
        body["reasoning"] = reasoning


def _read_format(request: dict[str, Any], body: dict[str, Any]) -> None:
    text = body.pop("text", {})
    form = text.pop("format", {})
    if form.get("type") == "json_object":
        request["outputFormat"] = {"jsonObject": {}}
    elif form.get("type") == "json_schema":
        schema = {
            "name": form["name"],
            "schemaJson": json.dumps(form["schema"]),
            "description": form.get("description", ""),
            "strict": form.get("strict", False),
        }
        request["outputFormat"] = {"jsonSchema": schema}
    elif form:
        raise NotExpressible(f"a form of type {form.get('type')}")
    if text:
        body["text"] = text


def _messages(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    for item in items:
        role, parts = _read_item(item)
        # Texts of which no item is known would be joined in one message.
        both_plain = all(one.keys() == {"type", "role", "content"} for one in (item, before))
        joins = found and found[-1]["role"] == role and role not in ("ROLE_USER", "ROLE_SYSTEM")
        if joins and not both_plain:
            found[-1]["parts"] += parts
        else:
            found.append({"role": role, "parts": parts})
        before = item
    return found


def _read_item(item: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    kind = item["type"]
    if kind == "message" and item["role"] in ("user", "system"):
        role = f"ROLE_{item['role'].upper()}"
        return role, [_input(content) for content in item["content"]]
    if kind == "function_call_output":
        if item.keys() - {"type", "call_id", "output", "caller"}:
            raise NotExpressible(f"a tool result with {sorted(item)}")
        result = {"toolCallId": item["call_id"], "content": list(map(_input, item["output"]))}
        return "ROLE_TOOL", [{"toolResult": result}]
    if kind == "message":
        return "ROLE_ASSISTANT", _said(item)
    if kind == "reasoning":
        text = "\n\n".join(one["text"] for one in item["summary"])
        return "ROLE_ASSISTANT", [{"reasoning": {"text": text}, **_state(item)}]
    if kind == "function_call":
        call = {
            "id": item["call_id"],
            "name": item["name"],
            "argumentsJson": item["arguments"],
        }
        rest = {key: item[key] for key in item.keys() - {"type", "call_id", "name", "arguments"}}
        return "ROLE_ASSISTANT", [{"toolCall": call, **(_state(rest) if rest else {})}]
    block = {"issuer": ISSUER, "type": kind, "payloadJson": json.dumps(item)}
    return "ROLE_ASSISTANT", [{"provider": block}]


def _said(item: dict[str, Any]) -> list[dict[str, Any]]:
    rest = {key: item[key] for key in item.keys() - {"type", "role", "content"}}
    parts = []
    for content in item["content"]:
        state = dict(rest)
        if content["type"] == "refusal":
            part: dict[str, Any] = {"refusal": {"text": content["refusal"]}}
        elif content["type"] == "output_text":
            part = {"text": {"text": content["text"]}}
            if content["annotations"]:
                state["annotations"] = content["annotations"]
        else:
            raise NotExpressible(f"an assistant's {content['type']}")
        parts.append(part | (_state(state) if state else {}))
    return parts


def _input(content: dict[str, Any]) -> dict[str, Any]:
    content = dict(content)
    mark = content.pop("prompt_cache_breakpoint", None)
    marked = {}
    if mark is not None:
        marked["cacheBreakpoint"] = {"ttl": _TTLS[mark["ttl"]]} if "ttl" in mark else {}
    if content["type"] == "input_text":
        return {"text": {"text": content["text"]}, **marked}
    media: dict[str, Any] = {}
    if content["type"] == "input_image":
        media = {"detail": _DETAILS.get(content.pop("detail"), "MEDIA_DETAIL_AUTO")}
        address = content.pop("image_url", None)
        if address is None:
            media |= {"mediaType": "image/png", "fileId": content.pop("file_id")}
    elif content["type"] == "input_file":
        media = {"filename": content.pop("filename", "")}
        address = content.pop("file_data", None) or content.pop("file_url", None)
        if address is None:
            media["fileId"] = content.pop("file_id")
        elif not address.startswith("data:"):
            media["mediaType"] = "application/pdf"
    else:
        raise NotExpressible(f"a {content['type']}")
    if content.keys() != {"type"}:
        raise NotExpressible(f"a {content['type']} with {sorted(content)}")
    if address is not None and address.startswith("data:"):
        head, _, data = address.partition(",")
        media |= {"mediaType": head[5:].partition(";")[0], "data": data}
    elif address is not None:
        media["uri"] = address
    return {"media": media, **marked}


def _state(value: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(value).encode()).decode()
    return {"opaqueState": {"issuer": ISSUER, "data": data}}


def as_openai_sees(body: dict[str, Any]) -> dict[str, Any]:
    """The body in one spelling; see above. The one given is left as it is."""
    seen = _without_nulls(json.loads(json.dumps(body)))
    for key in ("stream", "stream_options"):
        seen.pop(key, None)
    seen["model"] = seen["model"].removeprefix("openai/")
    seen.setdefault("store", True)
    items = seen["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if instructions := seen.pop("instructions", None):
        items = [{"role": "system", "content": instructions}, *items]
    seen["input"] = [_item(item) for item in items]
    if "include" in seen:
        seen["include"].sort()
    if seen.get("tool_choice") == "auto":
        del seen["tool_choice"]
    if seen.get("text", {}).get("format", {}).get("type") == "text":
        del seen["text"]["format"]
    if "format" in seen.get("text", {}):
        _sort_required(seen["text"]["format"].get("schema"))
    for key in ("text", "reasoning"):
        if not seen.get(key, True):
            del seen[key]
    tools = [_tool(tool) for tool in seen.pop("tools", [])]
    if tools:
        seen["tools"] = sorted(tools, key=lambda tool: json.dumps(tool, sort_keys=True))
    return seen


def without_defaults(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our body without what the service adds by itself where the caller sets nothing."""
    rest = dict(ours)
    for key, value in (
        ("temperature", 0.7),
        ("max_output_tokens", 8192),
    ):
        if key not in theirs and rest.get(key) == value:
            del rest[key]
    if "reasoning.encrypted_content" not in theirs.get("include", []):
        rest["include"] = [one for one in rest.get("include", []) if "encrypted" not in one]
        if not rest["include"] and "include" not in theirs:
            del rest["include"]
    reasoning, given = dict(rest.pop("reasoning", {})), theirs.get("reasoning", {})
    for key, value in (("effort", "low"), ("summary", "auto")):
        if key not in given and reasoning.get(key) == value:
            del reasoning[key]
    return rest | ({"reasoning": reasoning} if reasoning else {})


def _item(item: dict[str, Any]) -> dict[str, Any]:
    item = dict(item)
    if "role" in item:
        item["type"] = "message"
        if item["role"] == "developer":
            item["role"] = "system"
        said = item["role"] == "assistant"
        item["content"] = _contents(item["content"], "output_text" if said else "input_text")
    elif item["type"] == "function_call_output":
        item["output"] = _contents(item["output"], "input_text")
        for key in ("id", "status"):
            item.pop(key, None)
    return item


def _contents(content: Any, kind: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": kind, "text": content}]
    found = []
    for one in map(dict, content):
        one.pop("logprobs", None)
        if one["type"] == "output_text":
            one.setdefault("annotations", [])
        elif one["type"] == "input_image":
            one.setdefault("detail", "auto")
        found.append(one)
    return found


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    _sort_required(tool.get("parameters"))
    return {key: value for key, value in tool.items() if key != "description" or value}


def _sort_required(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _sort_required(item)
    elif isinstance(schema, dict):
        for item in schema.values():
            _sort_required(item)
        if isinstance(schema.get("required"), list):
            schema["required"].sort()


def _without_nulls(value: Any) -> Any:
    """Without the nulls of the wire's own objects; those of schemas mean something."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item if key in ("schema", "parameters") else _without_nulls(item)
        for key, item in value.items()
        if item is not None
    }
