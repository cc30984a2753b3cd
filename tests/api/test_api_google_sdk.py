"""Google's own SDK reads what the codec sends, and what the golden vectors answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_golden import VECTORS
from api_google_requests import as_google_sees

genai = pytest.importorskip("google.genai")
httpx = pytest.importorskip("httpx")
types = pytest.importorskip("google.genai.types")

WIRE = "google_generate_content"
MINE = [path for path in VECTORS if path.parent.name == WIRE]
# Answers that no Google server gives: the SDK is right to refuse them.
INVENTED = {"unknown_output", "bare_array_stream"}
# Spellings that Google takes and its SDK doesn't.
OTHER_SPELLING = {"provider_options"}
BODY = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerateContentConfig,
    "safetySettings": list[types.SafetySetting],
    "cachedContent": str,
}


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", MINE, ids=name_of)
def test_requests_are_of_the_sdks_types(path: Path) -> None:
    """The SDK's types refuse unknown keys."""
    pydantic = pytest.importorskip("pydantic")
    body = load(path)["wire_request"]
    for key, value in body.items():
        pydantic.TypeAdapter(BODY[_camel(key)]).validate_python(value)


class Wire:
    """Answers with a golden vector and keeps what was asked."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.vector = vector
        self.seen: list[Any] = []

    def __call__(self, request: Any) -> Any:
        self.seen.append((request.url.raw_path.decode(), json.loads(request.content)))
        if self.vector["stream"]:
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, text=self.vector["wire_stream"], headers=headers)
        return httpx.Response(200, json=self.vector["wire_response"])


def asked(vector: dict[str, Any]) -> tuple[Wire, list[Any]]:
    """What the SDK sends for the vector's request, and the chunks that it reads."""
    wire = Wire(vector)
    client = genai.Client(
        api_key="k",
        vertexai=False,
        http_options=types.HttpOptions(
            httpx_client=httpx.Client(transport=httpx.MockTransport(wire))
        ),
    )
    body = dict(vector["wire_request"])
    contents = [types.Content.model_validate(one) for one in body.pop("contents")]
    config = types.GenerateContentConfig.model_validate(
        {**body.pop("generationConfig"), **body, "automaticFunctionCalling": {"disable": True}}
    )
    path = vector["wire_path"].lstrip("/")
    model = re.sub(r":.*", "", path).replace("%20", " ")
    call = client.models.generate_content_stream if vector["stream"] else None
    if call is not None:
        return wire, list(call(model=model, contents=contents, config=config))
    return wire, [client.models.generate_content(model=model, contents=contents, config=config)]


@pytest.mark.parametrize(
    "path", [path for path in MINE if path.stem not in INVENTED | OTHER_SPELLING], ids=name_of
)
def test_sdk_sends_and_reads_the_same(path: Path) -> None:
    vector = load(path)
    wire, chunks = asked(vector)
    (sent_path, sent), *_ = wire.seen
    assert spelled(sent) == spelled(vector["wire_request"])
    assert sent_path.endswith(vector["wire_path"])
    parts = vector["response"]["message"].get("parts", [])
    texts = "".join(part["text"].get("text", "") for part in parts if "text" in part)
    read = list(parts_of(chunks))
    assert "".join(part.text for part in read if part.text and not part.thought) == texts
    calls = [json.loads(part["toolCall"]["argumentsJson"]) for part in parts if "toolCall" in part]
    assert [part.function_call.args for part in read if part.function_call] == calls
    kept = [signature(part) for part in parts if "opaqueState" in part]
    found = [part.thought_signature for part in read if part.thought_signature]
    assert len(found) >= len(kept)
    assert set(kept) <= set(found)
    raw = vector["response"]["rawFinishReason"]
    assert chunks[-1].candidates[0].finish_reason.value == raw
    assert chunks[-1].response_id == vector["response"]["responseId"]


def parts_of(chunks: list[Any]) -> Iterator[Any]:
    for chunk in chunks:
        content = chunk.candidates[0].content
        yield from (content.parts or []) if content else []


def signature(part: dict[str, Any]) -> bytes:
    return base64.b64decode(base64.b64decode(part["opaqueState"]["data"]))


def spelled(body: dict[str, Any]) -> Any:
    """A body in one spelling; the SDK writes some names of the same field in snake_case."""
    return _spelled(as_google_sees(body))


def _spelled(value: Any) -> Any:
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        _camel(key): item.lower() if key == "type" and isinstance(item, str) else _spelled(item)
        for key, item in value.items()
    }


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
