"""OpenAI's own SDK reads what the codec sends, and what the golden vectors answer."""

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

MINE = [path for path in VECTORS if path.parent.name == "openai_responses"]
# A refusal of which no message is known has no id; the API asks for none.
WITHOUT_ID = {"refusal_replayed"}
# What no server of OpenAI's answers, and events of others.
INVENTED = {"unknown_output", "codex_backend_stream"}


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def name_of(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def adapter() -> Any:
    """Validates bodies. The SDK's types are made to refuse unknown keys."""
    from openai.types.responses import response_create_params as params

    for name, module in list(sys.modules.items()):
        if name.startswith("openai.types."):
            for kind in vars(module).values():
                if typing_extensions.is_typeddict(kind):
                    kind.__pydantic_config__ = {"extra": "forbid"}
    streaming = params.ResponseCreateParamsStreaming
    return pydantic.TypeAdapter(params.ResponseCreateParamsNonStreaming | streaming)


@pytest.mark.parametrize(
    "path", [path for path in MINE if path.stem not in WITHOUT_ID], ids=name_of
)
def test_requests_are_of_the_sdks_types(path: Path, adapter: Any) -> None:
    _consumed(adapter.validate_python(load(path)["wire_request"]))


def test_unknown_keys_would_be_found(adapter: Any) -> None:
    body = {"model": "gpt-4o", "input": [{"role": "user", "content": "Hi"}]}
    _consumed(adapter.validate_python(body))
    item = {"type": "function_call_output", "call_id": "c", "output": "x", "colour": "red"}
    for wrong in ({"seed": 7}, {"input": [item]}, {"reasoning": {"budget": 1}}):
        with pytest.raises(pydantic.ValidationError):
            _consumed(adapter.validate_python(body | wrong))


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


def answered(vector: dict[str, Any], seen: list[Any]) -> Any:
    """The response that the SDK reads."""

    def answer(request: Any) -> Any:
        seen.append(request)
        if vector["stream"]:
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, text=vector["wire_stream"], headers=headers)
        return httpx.Response(200, json=vector["wire_response"])

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = openai.OpenAI(api_key="k", http_client=http)
    body = dict(vector["wire_request"])
    if not body.pop("stream", False):
        return client.responses.create(**body)
    events = list(client.responses.create(**body, stream=True))
    assert events[-1].type in ("response.completed", "response.incomplete")
    return events[-1].response


@pytest.mark.parametrize("path", [path for path in MINE if path.stem not in INVENTED], ids=name_of)
def test_sdk_sends_and_reads_the_same(path: Path) -> None:
    vector = load(path)
    seen: list[Any] = []
    response = answered(vector, seen)
    assert json.loads(seen[0].content) == vector["wire_request"]
    assert seen[0].url.path.endswith(vector["wire_path"])
    ours = vector["response"]
    parts = ours["message"].get("parts", [])
    texts = "".join(part["text"]["text"] for part in parts if "text" in part)
    assert response.output_text == texts
    calls = [part["toolCall"] for part in parts if "toolCall" in part]
    read = [item for item in response.output if item.type == "function_call"]
    assert [item.call_id for item in read] == [call["id"] for call in calls]
    assert [item.arguments or "{}" for item in read] == [call["argumentsJson"] for call in calls]
    details = response.incomplete_details
    assert ours["rawFinishReason"] == (details.reason if details else response.status)
    assert response.id == ours["responseId"]
    assert response.usage.output_tokens == int(ours["usage"]["outputTokens"])
    for item in response.output:  # an item of a type that the SDK doesn't know is of no type
        assert isinstance(item, pydantic.BaseModel)
        assert type(item).__name__ != "BaseModel"
