"""OpenAI's own SDK reads what the Chat codec sends, and what the golden vectors answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from api_golden import VECTORS

openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx2")  # what this SDK is built on
pydantic = pytest.importorskip("pydantic")
typing_extensions = pytest.importorskip("typing_extensions")

MINE = [path for path in VECTORS if path.parent.name == "openai_chat"]
# What other providers have beyond OpenAI's API, as "path.to.key", "*" for the items of a list.
EXTENSIONS = {
    "openai": set[str](),
    "xai": set[str](),
    "openrouter": {
        "top_k",
        "min_p",
        "repetition_penalty",
        "reasoning",
        "messages.*.annotations",
        "messages.*.reasoning",
        "messages.*.reasoning_details",
        "messages.*.extra_content",
        "messages.*.content.*.cache_control",
        "messages.*.tool_calls.*.extra_content",
    },
    "custom": {
        "top_k",
        "min_p",
        "repetition_penalty",
        "messages.*.reasoning_content",
        "messages.*.reasoning",
    },
}
# What servers of others take and send that OpenAI's has no form for.
INVENTED = {
    "tools_without_id",
    "tools_without_index_stream",
    "thinking_parts",
    "thinking_parts_stream",
}
THINKING = {"thinking_parts", "thinking_parts_stream"}


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def name_of(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def adapter() -> Any:
    """Validates bodies. The SDK's types are made to refuse unknown keys."""
    from openai.types.chat import completion_create_params as params

    for name, module in list(sys.modules.items()):
        if name.startswith("openai.types."):
            for kind in vars(module).values():
                if typing_extensions.is_typeddict(kind):
                    kind.__pydantic_config__ = {"extra": "forbid"}
    streaming = params.CompletionCreateParamsStreaming
    return pydantic.TypeAdapter(params.CompletionCreateParamsNonStreaming | streaming)


@pytest.mark.parametrize("path", [path for path in MINE if path.stem not in THINKING], ids=name_of)
def test_requests_are_of_the_sdks_types(path: Path, adapter: Any) -> None:
    vector = load(path)
    body = vector["wire_request"]
    options = vector["request"].get("providerOptionsJson", {}).keys()
    _consumed(adapter.validate_python(without(body, EXTENSIONS[vector["provider"]] | options)))


def test_unknown_keys_would_be_found(adapter: Any) -> None:
    message = {"role": "user", "content": "Hi"}
    body = {"model": "gpt-4o", "messages": [message]}
    _consumed(adapter.validate_python(body))
    for wrong in (
        {"top_k": 7},
        {"messages": [message | {"colour": "red"}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "colour": "red"}}]},
    ):
        with pytest.raises(pydantic.ValidationError):
            _consumed(adapter.validate_python(body | wrong))


def without(value: Any, paths: set[str]) -> Any:
    """A body without some of its keys."""
    if isinstance(value, list):
        inner = {path.removeprefix("*.") for path in paths if path.startswith("*.")}
        return [without(item, inner) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without(item, {path.removeprefix(f"{key}.") for path in paths})
        for key, item in value.items()
        if key not in paths
    }


def _consumed(value: Any) -> None:
    """Go through a validated value: what the types call iterable is checked on the way."""
    if isinstance(value, str | bytes):
        return
    if isinstance(value, dict):
        for item in value.values():
            _consumed(item)
    elif hasattr(value, "__iter__"):
        for item in value:
            _consumed(item)


@pytest.mark.parametrize("path", [path for path in MINE if path.stem not in INVENTED], ids=name_of)
def test_sdk_sends_and_reads_the_same(path: Path) -> None:
    vector = load(path)
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        if vector["stream"]:
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, text=vector["wire_stream"], headers=headers)
        return httpx.Response(200, json=vector["wire_response"])

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = openai.OpenAI(api_key="k", http_client=http, base_url="http://localhost/v1")
    body = dict(vector["wire_request"])
    from openai.types.chat import completion_create_params as params

    known = params.CompletionCreateParamsBase.__annotations__.keys() | {"stream"}
    extra = {key: body.pop(key) for key in body.keys() - known}
    result = client.chat.completions.create(**body, extra_body=extra)
    if vector["stream"]:
        read = streamed(list(result))
    else:
        message = result.choices[0].message
        calls = [(call.id, call.function.arguments) for call in message.tool_calls or ()]
        said = message.content or (message.audio and message.audio.transcript)
        read = (result.id, said, calls, result.choices[0].finish_reason)
    assert json.loads(seen[0].content) == vector["wire_request"]
    response = vector["response"]
    parts = response["message"].get("parts", [])
    told = [
        (part["toolCall"]["id"], part["toolCall"]["argumentsJson"])
        for part in parts
        if "toolCall" in part
    ]
    assert read[0] == response["responseId"]
    if not isinstance(read[1], list):
        text = "".join(part["text"].get("text", "") for part in parts if "text" in part)
        assert (read[1] or "") == text
    assert read[2] == told
    assert (read[3] or "") == response.get("rawFinishReason", "")


def streamed(chunks: list[Any]) -> tuple[str, str, list[tuple[str, str]], str | None]:
    """Id, text, calls and finish reason, put together from the SDK's chunks."""
    text, finish = "", None
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                known = calls.setdefault(call.index, [call.id or "", ""])
                known[1] += (call.function.arguments or "") if call.function else ""
    return chunks[0].id, text, [(one[0], one[1]) for _, one in sorted(calls.items())], finish
