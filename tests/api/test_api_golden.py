"""Golden vectors of every codec: tests/api/golden/<wire protocol>/<feature>.json.

A vector holds a request and the body that it must become, and an answer of the wire and the
response that it must become, as proto JSON and wire JSON: other languages can use them too. Fields:

    provider       the provider that must be chosen
    stream         whether the call is streamed
    request        GenerateRequest
    wire_path      what must follow the base URL (optional)
    wire_request   the body that must be sent
    wire_response  the body of the answer, or
    wire_stream    the event stream of the answer
    response       GenerateResponse
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_golden import ENVIRON, VECTORS, numbered, targets_of
from google.protobuf import json_format

from api_service.target import Target
from marsys.stream import fold
from marsys.v1 import GenerateRequest, GenerateResponse
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

CALL = Call("id", "ipv4:127.0.0.1:1", None, False)


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def load(path: Path) -> tuple[dict[str, Any], GenerateRequest, Target]:
    vector = json.loads(path.read_text())
    request = json_format.ParseDict(vector["request"], GenerateRequest())
    validate(request)
    return vector, request, targets_of(path.parent.name).resolve(request, CALL)


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 34
    assert set(ENVIRON)


@pytest.mark.parametrize("path", VECTORS, ids=name_of)
def test_request(path: Path) -> None:
    vector, request, target = load(path)
    before = request.SerializeToString(deterministic=True)
    wire = target.codec.encode(request, target.upstream, vector["stream"], EventWriter())
    assert target.upstream.row.wire == path.parent.name
    assert json.loads(wire.body) == vector["wire_request"]
    assert wire.path == vector.get("wire_path", wire.path)
    assert target.provider == vector["provider"]
    assert request.SerializeToString(deterministic=True) == before, "the request is left as it was"


@pytest.mark.parametrize("path", VECTORS, ids=name_of)
def test_response(path: Path) -> None:
    vector, request, target = load(path)
    warnings = EventWriter()
    target.codec.encode(request, target.upstream, vector["stream"], warnings)
    writer = EventWriter()
    decoder = target.codec.decoder(target.upstream, writer)
    if vector["stream"]:
        decoder.feed(vector["wire_stream"].encode())
        decoder.end()
    else:
        decoder.decode(json.dumps(vector["wire_response"]).encode())
    expected = json_format.ParseDict(vector["response"], GenerateResponse())
    answer = fold(numbered(warnings.take() + writer.take()))
    if not expected.HasField("create_time"):  # providers that tell no time
        answer.ClearField("create_time")
    assert answer == expected


@pytest.mark.parametrize(
    "path", [path for path in VECTORS if "wire_stream" in path.read_text()], ids=name_of
)
def test_stream_split_at_every_byte(path: Path) -> None:
    vector, _, target = load(path)
    data = vector["wire_stream"].encode()
    answers = []
    for cut in range(len(data)):
        writer = EventWriter()
        decoder = target.codec.decoder(target.upstream, writer)
        decoder.feed(data[:cut])
        events = writer.take()
        decoder.feed(data[cut:])
        decoder.end()
        answer = fold(numbered(events + writer.take()))
        if "createTime" not in vector["response"]:
            answer.ClearField("create_time")
        answers.append(answer)
    assert all(answer == answers[0] for answer in answers)
