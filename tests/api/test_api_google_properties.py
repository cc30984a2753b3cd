"""Properties of the Google codec: streamed equals whole, no bytes break it, parts go back."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from api_golden import numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from api_service.providers.codec import Upstream
from api_service.providers.google import GoogleCodec
from api_service.providers.google_schema import NotConvertible, google_schema
from api_service.providers.table import GOOGLE
from marsys.stream import fold
from marsys.v1 import GenerateRequest, GenerateResponse, Message, Part, Role, TextPart
from serving.errors import ServiceError
from serving.event_writer import EventWriter

UPSTREAM = Upstream(GOOGLE, "gemini-2.5-flash")
HEAD = {
    "responseId": "r-1",
    "modelVersion": "gemini-2.5-flash",
    "createTime": "2026-01-02T03:04:05Z",
}

texts = st.text(st.characters(codec="utf-8"), max_size=40)
words = st.text("abcdefgh_", min_size=1, max_size=8)
counts = st.integers(0, 2**53)
signatures = st.binary(min_size=1, max_size=30).map(lambda data: base64.b64encode(data).decode())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
finite = json_values.filter(lambda value: "Infinity" not in json.dumps(value))


def maybe_signed(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    signed = st.builds(lambda part, s: part | {"thoughtSignature": s}, parts, signatures)
    return parts | signed


text_parts = st.builds(lambda text: {"text": text}, texts)
thoughts = st.builds(lambda text: {"text": text, "thought": True}, texts)
calls = st.builds(
    lambda name, args, call_id: {
        "functionCall": {"name": name, "args": args} | ({"id": call_id} if call_id else {})
    },
    words,
    st.dictionaries(words, finite, max_size=3),
    st.just("") | st.uuids().map(str),
)
blocks = st.sampled_from(
    [
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
        {"toolCall": {"id": "t", "toolType": "FILE_SEARCH"}},
        {"inlineData": {"mimeType": "image/png", "data": "aW1hZ2U="}, "thought": True},
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://a/b"}},
        {"novelty": {"x": [1]}},
    ]
)
images = st.builds(
    lambda data: {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}},
    st.binary(min_size=1, max_size=20),
)
usages = st.fixed_dictionaries(
    {"promptTokenCount": counts, "totalTokenCount": counts},
    optional={
        "candidatesTokenCount": counts,
        "thoughtsTokenCount": counts,
        "cachedContentTokenCount": counts,
        "toolUsePromptTokenCount": counts,
    },
)


def kind_of(part: dict[str, Any]) -> tuple[str, bool]:
    return "text" if "text" in part else "other", bool(part.get("thought"))


def settled(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts as Google gives them: no empty text without a signature, chunks joined."""
    result: list[dict[str, Any]] = []
    for part in parts:
        unsigned = "text" in part and "thoughtSignature" not in part
        if unsigned and not part["text"]:
            continue
        last = result[-1] if result else {}
        open_text = "text" in last and "thoughtSignature" not in last
        if unsigned and open_text and kind_of(part) == kind_of(last):
            result[-1] = last | {"text": last["text"] + part["text"]}
        else:
            result.append(part)
    return result


part_lists = st.lists(
    maybe_signed(text_parts | thoughts | calls | blocks | images), max_size=6
).map(settled)
answers = st.fixed_dictionaries(
    {
        "parts": part_lists,
        "finish": st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "OTHER", "NEW_REASON"]),
        "usage": st.none() | usages,
    }
)


def body_of(answer: dict[str, Any], parts: list[Any], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    body: dict[str, Any] = HEAD | {"candidates": [candidate]}
    if answer["usage"] and finish:
        body["usageMetadata"] = answer["usage"]
    return body


def pieces(draw: st.DrawFn, part: dict[str, Any]) -> list[dict[str, Any]]:
    """A text without a signature in pieces; other parts come whole."""
    if "text" not in part or "thoughtSignature" in part:
        return [part]
    text = part["text"]
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [part | {"text": text[a:b]} for a, b in itertools.pairwise([0, *cuts, len(text)])]


@st.composite
def streamed(draw: st.DrawFn, answer: dict[str, Any]) -> list[bytes]:
    """The answer as an event stream, split anywhere."""
    small = [piece for part in answer["parts"] for piece in pieces(draw, part)]
    chunks = []
    while small:
        count = draw(st.integers(1, 3))
        chunks.append(body_of(answer, small[:count], None))
        small = small[count:]
    chunks.append(body_of(answer, [], answer["finish"]))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    if draw(st.booleans()):
        data = "".join(f"data: {json.dumps(chunk)}{newline}{newline}" for chunk in chunks)
    else:  # without alt=sse: one array
        data = json.dumps(chunks, indent=draw(st.none() | st.just(2))).replace("\n", newline)
    raw = data.encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    return [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]


def decode_whole(body: bytes) -> GenerateResponse | int:
    """The response, or the reason of the error."""
    writer = EventWriter()
    try:
        GoogleCodec().decoder(UPSTREAM, writer).decode(body)
    except ServiceError as error:
        return error.error.reason
    return fold(numbered(writer.take()))


def decode_stream(chunks: list[bytes]) -> GenerateResponse | int:
    writer = EventWriter()
    decoder = GoogleCodec().decoder(UPSTREAM, writer)
    events = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            events += writer.take()
        decoder.end()
    except ServiceError as error:
        return error.error.reason
    return fold(numbered(events + writer.take()))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_streamed_equals_whole(data: st.DataObject) -> None:
    answer = data.draw(answers)
    whole = json.dumps(body_of(answer, answer["parts"], answer["finish"])).encode()
    assert decode_stream(data.draw(streamed(answer))) == decode_whole(whole)


def conversation(message: Message) -> GenerateRequest:
    """A conversation that goes on after the message."""
    hello = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="Hi"))])
    request = GenerateRequest(model="google/gemini-2.5-flash", messages=[hello, message])
    results = request.messages.add(role=Role.ROLE_TOOL)
    for part in message.parts:
        if part.HasField("tool_call"):
            results.parts.add().tool_result.tool_call_id = part.tool_call.id
    if not results.parts:
        del request.messages[2]
    return request


@settings(max_examples=200, deadline=None)
@given(part_lists.filter(bool))
def test_parts_go_back_as_they_came(parts: list[dict[str, Any]]) -> None:
    answer = {"parts": parts, "usage": None}
    response = decode_whole(json.dumps(body_of(answer, parts, "STOP")).encode())
    assert isinstance(response, GenerateResponse)
    request = conversation(response.message)
    wire = GoogleCodec().encode(request, UPSTREAM, False, EventWriter())
    contents = json.loads(wire.body)["contents"]
    assert contents[1] == {"role": "model", "parts": parts}
    ids = [part["functionCall"].get("id") for part in parts if "functionCall" in part]
    if ids:
        assert [part["functionResponse"].get("id") for part in contents[2]["parts"]] == ids


keys = st.sampled_from(
    [
        "candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall",
        "name", "args", "id", "inlineData", "mimeType", "data", "finishReason", "finishMessage",
        "usageMetadata", "promptTokenCount", "promptFeedback", "blockReason", "safetyRatings",
        "groundingMetadata", "groundingChunks", "web", "uri", "groundingSupports", "segment",
        "startIndex", "endIndex", "groundingChunkIndices", "citationMetadata", "citationSources",
        "error", "code", "message", "status", "details", "violations", "quotaId", "retryDelay",
        "createTime", "responseId", "modelVersion", "index", "models", "totalTokens", "reason",
        "fieldViolations", "field", "inputTokenLimit", "supportedGenerationMethods",
    ]
)  # fmt: skip
odd_values = json_values | st.floats() | st.integers()
odd_answers = st.recursive(
    odd_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
odd_objects = st.dictionaries(keys, odd_answers, max_size=6)


def check_all(text: bytes) -> None:
    """Nothing raises anything but ServiceError."""
    codec = GoogleCodec()
    decode_whole(text)
    decode_stream([b"data: ", text, b"\n\n"])
    decode_stream([text])
    codec.decode_error(UPSTREAM, 400, {}, text, 0.0)
    codec.decode_error(UPSTREAM, 429, {}, text, 0.0)
    for read in (codec.decode_models, codec.decode_count):
        try:
            read(UPSTREAM, text)
        except ServiceError as error:
            assert error.error.reason


@settings(max_examples=200, deadline=None)
@given(odd_objects, odd_objects, odd_objects)
def test_odd_json_gives_an_answer_or_a_typed_error(
    answer: dict[str, Any], candidate: dict[str, Any], part: dict[str, Any]
) -> None:
    full = answer | {"candidates": [candidate | {"content": {"parts": [part]}, "index": 0}]}
    for value in (answer, full, {"error": candidate}, [{"error": candidate}], {"models": [part]}):
        check_all(json.dumps(value).encode())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([b"data: ", b"\n\n", b"\r", b"{}", b"[{", b"}]", b'"', b"\\"])
    )
)
def test_any_bytes_give_an_answer_or_a_typed_error(chunks: list[bytes]) -> None:
    check_all(b"".join(chunks))
    one = decode_stream(chunks)
    other = decode_stream([b"".join(chunks)])
    assert isinstance(one, int) == isinstance(other, int)


schemas = st.recursive(
    st.sampled_from(
        [
            {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": ["string", "null"]},
            {"enum": ["a", "b", None]}, {"const": 5}, {"const": "x"}, {"$ref": "#/$defs/a"},
            {"type": "string", "format": "uuid"}, {"type": "boolean"}, True, False, {}, {"type": 5},
        ]
    ),
    lambda inner: st.builds(
        lambda key, one, many: {
            "array": {"type": "array", "items": one},
            "object": {"type": "object", "properties": many, "required": list(many)},
            "anyOf": {"anyOf": [one, {"type": "null"}]},
            "allOf": {"allOf": [one]},
            "oneOf": {"oneOf": [one]},
            "defs": {"$defs": {"a": one}, "type": "object", "properties": {"x": one}},
        }[key],
        st.sampled_from(["array", "object", "anyOf", "allOf", "oneOf", "defs"]),
        inner,
        st.dictionaries(words, inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip
ALLOWED = {
    "type", "format", "title", "description", "nullable", "enum", "items", "properties", "required",
    "propertyOrdering", "minimum", "anyOf",
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(schemas)
def test_converted_schemas_hold_only_what_google_knows(schema: Any) -> None:
    root = {"type": "object", "properties": {"root": schema}, "$defs": {"a": {"type": "string"}}}
    before = json.dumps(root)
    try:
        converted = google_schema(root)
    except NotConvertible as error:
        assert str(error)
    else:
        waiting: list[Any] = [converted]
        while waiting:
            part = waiting.pop()
            assert part.keys() <= ALLOWED
            assert all(isinstance(value, str) for value in part.get("enum", []))
            waiting += [*part.get("properties", {}).values(), *part.get("anyOf", [])]
            waiting += [part["items"]] if "items" in part else []
    assert json.dumps(root) == before


def test_deep_and_large_values() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    for args in (deep, {"a": deep}, {"a": 2**70}, {"a": float("nan"), "b": 2**70}):
        part = {"functionCall": {"name": "f", "args": args}}
        body = {"candidates": [{"content": {"parts": [part]}, "groundingMetadata": {"a": deep}}]}
        check_all(json.dumps(body).encode())
