"""Anthropic's own SDK reads what the codec sends, and what the golden vectors answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_golden import VECTORS

anthropic = pytest.importorskip("anthropic")
httpx = pytest.importorskip("httpx2")  # what this SDK is built on
pydantic = pytest.importorskip("pydantic")

MINE = [path for path in VECTORS if path.parent.name == "anthropic_messages"]

# The SDK is made for a later version of the API, in which no model takes these.
OF_OLDER_VERSIONS = {"temperature", "top_p", "top_k"}


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", MINE, ids=name_of)
def test_requests_are_of_the_sdks_types(path: Path) -> None:
    """Unknown keys of the body are refused."""
    from anthropic.types.beta import message_create_params as params

    body = load(path)["wire_request"]
    streaming = params.MessageCreateParamsStreaming
    kind = streaming if body.get("stream") else params.MessageCreateParamsNonStreaming
    known = kind.__annotations__.keys() | params.MessageCreateParamsBase.__annotations__.keys()
    assert body.keys() <= known | OF_OLDER_VERSIONS
    pydantic.TypeAdapter(kind).validate_python(body)


def client_of(vector: dict[str, Any], seen: list[Any]) -> Any:
    def answer(request: Any) -> Any:
        seen.append(request)
        if vector["stream"]:
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, text=vector["wire_stream"], headers=headers)
        return httpx.Response(200, json=vector["wire_response"])

    http = httpx.Client(transport=httpx.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", http_client=http)


@pytest.mark.parametrize("path", MINE, ids=name_of)
def test_sdk_sends_and_reads_the_same(path: Path) -> None:
    vector = load(path)
    seen: list[Any] = []
    client = client_of(vector, seen)
    body = dict(vector["wire_request"])
    headers = vector.get("wire_headers")
    extra = {key: body.pop(key) for key in OF_OLDER_VERSIONS & body.keys()}
    options = {"extra_headers": headers, "extra_body": extra, "timeout": 600}
    if body.pop("stream", False):
        with client.beta.messages.stream(**body, **options) as stream:
            message = stream.get_final_message()
    else:
        message = client.beta.messages.create(**body, **options)
    sent = json.loads(seen[0].content)
    assert sent == vector["wire_request"]
    assert seen[0].url.path.endswith(vector["wire_path"])
    for name, value in (headers or {}).items():
        assert value in seen[0].headers[name]
    response = vector["response"]
    parts = response["message"].get("parts", [])
    texts = [part["text"]["text"] for part in parts if "text" in part]
    read = [block.text for block in message.content if block.type == "text"]
    if not any("```" in text for text in read):  # fences are taken off
        assert read == texts
    calls = [part["toolCall"]["id"] for part in parts if "toolCall" in part]
    assert [block.id for block in message.content if block.type == "tool_use"] == calls
    assert message.stop_reason == response["rawFinishReason"]
    assert message.id == response["responseId"]
    assert message.usage.output_tokens == int(response["usage"]["outputTokens"])
