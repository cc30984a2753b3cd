"""Golden vectors of the OpenAI Chat Completions codec, and recordings of live providers.

A vector holds a request and the body that it must become, and an answer of the wire and the
response that it must become, as proto JSON and wire JSON: other languages can use them too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from api_service.providers.openai_chat import ChatCodec
from api_service.settings import ApiSettings
from api_service.target import Target, Targets
from marsys.stream import fold
from marsys.v1 import FinishReason, GenerateRequest, GenerateResponse, StreamEvent
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

VECTORS = sorted(Path(__file__).parent.joinpath("golden/openai_chat").glob("*.json"))
RECORDINGS = sorted(
    Path(__file__).parents[2].parent.joinpath("shared/recordings/openai_chat").glob("*.json")
)
CALL = Call("id", "ipv4:127.0.0.1:1", None, False)
ENVIRON = {"OPENAI_API_KEY": "k", "OPENROUTER_API_KEY": "k", "XAI_API_KEY": "k"}
TARGETS = Targets(ApiSettings(), ENVIRON)


def load(path: Path) -> tuple[dict[str, Any], GenerateRequest, Target]:
    vector = json.loads(path.read_text())
    request = json_format.ParseDict(vector["request"], GenerateRequest())
    validate(request)
    return vector, request, TARGETS.resolve(request, CALL)


def numbered(events: list[StreamEvent]) -> list[StreamEvent]:
    for number, event in enumerate(events):
        event.sequence = number
    return events


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 15


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_request(path: Path) -> None:
    vector, request, target = load(path)
    before = request.SerializeToString(deterministic=True)
    wire = ChatCodec().encode(request, target.upstream, vector["stream"], EventWriter())
    assert json.loads(wire.body) == vector["wire_request"]
    assert target.provider == vector["provider"]
    assert request.SerializeToString(deterministic=True) == before, "the request is left as it was"


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_response(path: Path) -> None:
    vector, request, target = load(path)
    warnings = EventWriter()
    ChatCodec().encode(request, target.upstream, vector["stream"], warnings)
    writer = EventWriter()
    decoder = ChatCodec().decoder(target.upstream, writer)
    if vector["stream"]:
        decoder.feed(vector["wire_stream"].encode())
        decoder.end()
    else:
        decoder.decode(json.dumps(vector["wire_response"]).encode())
    expected = json_format.ParseDict(vector["response"], GenerateResponse())
    assert fold(numbered(warnings.take() + writer.take())) == expected


@pytest.mark.parametrize(
    "path", [path for path in VECTORS if "stream" in path.stem], ids=lambda path: path.stem
)
def test_stream_split_at_every_byte(path: Path) -> None:
    vector, _, target = load(path)
    data = vector["wire_stream"].encode()
    answers = []
    for cut in range(len(data)):
        writer = EventWriter()
        decoder = ChatCodec().decoder(target.upstream, writer)
        decoder.feed(data[:cut])
        events = writer.take()
        decoder.feed(data[cut:])
        decoder.end()
        answers.append(fold(numbered(events + writer.take())))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.skipif(not RECORDINGS, reason="the recordings are not here")
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_recording(path: Path) -> None:
    recording = json.loads(path.read_text())
    provider = "openrouter" if "openrouter.ai" in recording["uri"] else "openai"
    target = TARGETS.provider(provider, "provider")
    response, codec = recording["response"], ChatCodec()
    body = response.encode() if isinstance(response, str) else json.dumps(response).encode()
    if recording["status"] != 200:
        headers = recording["response_headers"]
        error = codec.decode_error(target.upstream, recording["status"], headers, body, 0.0)
        assert error.http_status == recording["status"]
        assert error.reason
        assert recording["response"]["error"]["message"] in error.message
        return
    writer = EventWriter()
    decoder = codec.decoder(target.upstream, writer)
    if not isinstance(response, str) and "choices" not in response:
        with pytest.raises(ServiceError):
            decoder.decode(body)
        return
    if isinstance(response, str):
        decoder.feed(body)
        decoder.end()
    else:
        decoder.decode(body)
    answer = fold(numbered(writer.take()))
    text = "".join(part.text.text for part in answer.message.parts)
    calls = [part.tool_call for part in answer.message.parts if part.HasField("tool_call")]
    assert text or calls
    assert answer.usage.output_tokens > 0
    assert answer.finish_reason != FinishReason.FINISH_REASON_OTHER
    assert not answer.warnings
    if not isinstance(response, str):
        message = response["choices"][0]["message"]
        assert text == (message.get("content") or "")
        assert [call.arguments_json for call in calls] == [
            call["function"].get("arguments", "{}") for call in message.get("tool_calls") or ()
        ]
        assert answer.response_id == response["id"]
        cost = response["usage"].get("cost")
        assert answer.cost.nano_usd == round((cost or 0) * 1e9)
        reasoning = "".join(part.reasoning.text for part in answer.message.parts)
        assert reasoning == (message.get("reasoning") or "")
        if message.get("reasoning_details"):
            state = answer.message.parts[0].opaque_state
            assert json.loads(state.data) == message["reasoning_details"]
