"""Properties of the Anthropic codec: streamed equals whole, no bytes break it, blocks go back."""

from __future__ import annotations

import itertools
import json
from typing import Any

from api_golden import numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from api_service.providers.anthropic import AnthropicCodec
from api_service.providers.anthropic_fences import FenceStripper
from api_service.providers.anthropic_schema import NotEnforceable, enforced_schema
from api_service.providers.codec import Upstream
from api_service.providers.table import ANTHROPIC
from marsys.stream import fold
from marsys.v1 import GenerateRequest, GenerateResponse, Message, Part, Role, TextPart
from serving.errors import ServiceError
from serving.event_writer import EventWriter

UPSTREAM = Upstream(ANTHROPIC, "claude-sonnet-4-5")

texts = st.text(st.characters(codec="utf-8"), max_size=40)
words = st.text("abcdefgh_", min_size=1, max_size=8)
counts = st.integers(0, 2**53)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
citations = st.builds(
    lambda text, url: {
        "type": "web_search_result_location", "cited_text": text, "url": url, "title": None,
        "encrypted_index": "Eo8B",
    },
    texts,
    words,
)  # fmt: skip
text_blocks = st.builds(
    lambda text, cited: {"type": "text", "text": text} | ({"citations": cited} if cited else {}),
    texts.filter(str.strip),
    st.lists(citations, max_size=2),
)
thinking_blocks = st.builds(
    lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, texts, words
)
redacted_blocks = st.builds(lambda data: {"type": "redacted_thinking", "data": data}, words)
tool_blocks = st.builds(
    lambda call_id, name, given, caller: {
        "type": "tool_use", "id": call_id, "name": name, "input": given,
    } | ({"caller": caller} if caller else {}),
    st.uuids().map(str),
    words,
    st.dictionaries(words, json_values, max_size=3),
    st.none() | st.just({"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}),
)  # fmt: skip
server_blocks = st.builds(
    lambda given: {"type": "server_tool_use", "id": "srvtoolu_1", "name": "x", "input": given},
    st.dictionaries(words, json_values, max_size=2),
) | st.just({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [1]})
block_lists = st.lists(
    text_blocks | thinking_blocks | redacted_blocks | tool_blocks | server_blocks,
    min_size=1,
    max_size=6,
)
answers = st.fixed_dictionaries(
    {
        "content": block_lists,
        "stop_reason": st.sampled_from(
            ["end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "novelty"]
        ),
        "stop_sequence": st.none() | words,
        "usage": st.fixed_dictionaries(
            {"input_tokens": counts, "output_tokens": counts},
            optional={"cache_read_input_tokens": counts, "cache_creation_input_tokens": counts},
        ),
    }
)


def whole(answer: dict[str, Any]) -> bytes:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    return json.dumps(head | answer).encode()


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def deltas_of(draw: st.DrawFn, block: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """How a block begins, and how it grows."""
    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": c} for c in block.get("citations", [])]
        grown = [{"type": "text_delta", "text": text} for text in pieces(draw, block["text"])]
        return {"type": "text", "text": ""}, cited + grown
    if kind == "thinking":
        grown = [
            {"type": "thinking_delta", "thinking": text} for text in pieces(draw, block["thinking"])
        ]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*grown, signed]
    if "input" in block:
        text = json.dumps(block["input"]) if block["input"] else ""
        grown = [
            {"type": "input_json_delta", "partial_json": piece} for piece in pieces(draw, text)
        ]
        return block | {"input": {}}, grown
    return block, []


@st.composite
def streamed(draw: st.DrawFn, answer: dict[str, Any]) -> list[bytes]:
    """The answer as an event stream, split anywhere."""
    usage = answer["usage"]
    message = {"id": "msg_1", "model": "claude-sonnet-4-5", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"usage": usage | {"output_tokens": 1}}}
    ]
    for index, block in enumerate(answer["content"]):
        start, deltas = deltas_of(draw, block)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
        if draw(st.booleans()):
            events.append({"type": "ping"})
    stop = {key: answer[key] for key in ("stop_reason", "stop_sequence")}
    tokens = {"output_tokens": usage["output_tokens"]}
    events.append({"type": "message_delta", "delta": stop, "usage": tokens})
    events.append({"type": "message_stop"})
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    raw = "".join(
        f"event: {event['type']}{newline}data: {json.dumps(event)}{newline}{newline}"
        for event in events
    ).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    return [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]


def settled(events: list[Any]) -> GenerateResponse:
    answer = fold(numbered(events))
    answer.ClearField("create_time")  # Anthropic tells none
    for part in answer.message.parts:  # the white space between tokens is the writer's
        if part.HasField("tool_call"):
            part.tool_call.arguments_json = json.dumps(json.loads(part.tool_call.arguments_json))
    return answer


def decode_whole(body: bytes) -> GenerateResponse | int:
    """The response, or the reason of the error."""
    writer = EventWriter()
    try:
        AnthropicCodec().decoder(UPSTREAM, writer).decode(body)
    except ServiceError as error:
        return error.error.reason
    return settled(writer.take())


def decode_stream(chunks: list[bytes]) -> GenerateResponse | int:
    writer = EventWriter()
    decoder = AnthropicCodec().decoder(UPSTREAM, writer)
    events = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            events += writer.take()
        decoder.end()
    except ServiceError as error:
        return error.error.reason
    return settled(events + writer.take())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_streamed_equals_whole(data: st.DataObject) -> None:
    answer = data.draw(answers)
    assert decode_stream(data.draw(streamed(answer))) == decode_whole(whole(answer))


@settings(max_examples=200, deadline=None)
@given(block_lists)
def test_blocks_go_back_as_they_came(blocks: list[dict[str, Any]]) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    answer = {"content": blocks, "stop_reason": "tool_use", "usage": usage}
    response = decode_whole(whole(answer))
    assert isinstance(response, GenerateResponse)
    hello = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="Hi"))])
    request = GenerateRequest(messages=[hello, response.message, hello])
    wire = AnthropicCodec().encode(request, UPSTREAM, False, EventWriter())
    assert json.loads(wire.body)["messages"][1]["content"] == blocks


keys = st.sampled_from(
    [
        "type", "message", "content", "content_block", "index", "delta", "text", "thinking",
        "signature", "id", "model", "usage", "input_tokens", "output_tokens", "stop_reason",
        "stop_sequence", "stop_details", "container", "input", "name", "citations", "citation",
        "partial_json", "error", "data", "first_id", "display_name", "cache_read_input_tokens",
    ]
)  # fmt: skip
kinds = st.sampled_from(
    [
        "message", "message_start", "message_delta", "message_stop", "content_block_start",
        "content_block_delta", "content_block_stop", "error", "ping", "text", "thinking",
        "tool_use", "redacted_thinking", "server_tool_use", "text_delta", "input_json_delta",
        "citations_delta", "signature_delta", "overloaded_error", "end_turn", "refusal",
    ]
)  # fmt: skip
odd_values = st.recursive(
    json_values | kinds | st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
odd_objects = st.dictionaries(keys, odd_values, max_size=6)


def check_all(text: bytes) -> None:
    """Nothing raises anything but ServiceError."""
    codec = AnthropicCodec()
    writer = EventWriter()
    for decode in (codec.decoder(UPSTREAM, writer).decode, codec.decoder(UPSTREAM, writer).feed):
        try:
            decode(text)
        except ServiceError as error:
            assert error.error.reason
    codec.decode_error(UPSTREAM, 400, {}, text, 0.0)
    codec.decode_error(UPSTREAM, 529, {}, text, 0.0)
    for read in (codec.decode_models, codec.decode_count):
        try:
            read(UPSTREAM, text)
        except ServiceError as error:
            assert error.error.reason


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_objects, min_size=1, max_size=5), odd_objects)
def test_odd_json_gives_an_answer_or_a_typed_error(
    events: list[dict[str, Any]], answer: dict[str, Any]
) -> None:
    start = {"type": "message_start", "message": {}}
    check_all(json.dumps(answer | {"type": "message", "content": events}).encode())
    check_all("".join(f"data: {json.dumps(event)}\n\n" for event in [start, *events]).encode())


@settings(max_examples=200, deadline=None)
@given(texts, st.booleans(), st.lists(st.integers(0, 80), max_size=5))
def test_fences_are_taken_off_however_they_come(text: str, fenced: bool, places: list[int]) -> None:
    value = json.dumps({"text": text})
    whole_text = f"```json\n{value}\n```\n" if fenced else value
    cuts = sorted(min(place, len(whole_text)) for place in places)
    stripper = FenceStripper()
    found = [
        stripper.feed(whole_text[a:b]) for a, b in itertools.pairwise([0, *cuts, len(whole_text)])
    ]
    assert "".join([*found, stripper.end()]) == value


@settings(max_examples=200, deadline=None)
@given(texts.filter(lambda text: not text.lstrip().startswith("```")))
def test_other_texts_stay_as_they_are(text: str) -> None:
    stripper = FenceStripper()
    assert "".join(map(stripper.feed, text)) + stripper.end() == text


schemas = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "minLength": 1}, {"type": ["string", "null"]}, {"const": "x"},
            {"enum": ["a", None]}, {"$ref": "#/$defs/a"}, {"$ref": "#/x"}, {"type": "boolean"},
            {"type": "object"}, {"type": "string", "format": "uuid"}, True, {}, {"type": 5},
        ]
    ),
    lambda inner: st.builds(
        lambda key, one, many: {
            "array": {"type": "array", "items": one, "minItems": 2},
            "object": {"type": "object", "properties": many},
            "anyOf": {"anyOf": [one, {"type": "null"}]},
            "oneOf": {"oneOf": [one]},
            "map": {"type": "object", "additionalProperties": one},
        }[key],
        st.sampled_from(["array", "object", "anyOf", "oneOf", "map"]),
        inner,
        st.dictionaries(words, inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(schemas)
def test_enforced_schemas_close_every_object(schema: Any) -> None:
    root = {"type": "object", "properties": {"root": schema}, "$defs": {"a": {"type": "string"}}}
    before = json.dumps(root)
    try:
        enforced, _ = enforced_schema(root)
    except NotEnforceable as error:
        assert str(error)
    else:
        waiting: list[Any] = [enforced]
        while waiting:
            part = waiting.pop()
            if not isinstance(part, dict):
                continue
            if part.get("type") == "object":
                assert part["additionalProperties"] is False
            assert not part.keys() & {"oneOf", "minLength"}
            assert part.get("minItems", 0) < 2
            waiting += [*part.get("properties", {}).values(), *part.get("anyOf", [])]
            waiting += [part["items"]] if "items" in part else []
    assert json.dumps(root) == before
