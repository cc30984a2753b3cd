"""Property tests of the decoder: a streamed answer equals the whole one, and no bytes break it."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api_service.providers.codec import Upstream
from api_service.providers.openai_chat import ChatCodec
from api_service.providers.table import OPENROUTER
from marsys.stream import fold
from marsys.v1 import GenerateResponse, StreamEvent
from serving.errors import ServiceError
from serving.event_writer import EventWriter

UPSTREAM = Upstream(OPENROUTER, "some/model")
HEAD = {"id": "gen-1", "created": 1700000000, "model": "some/model"}

texts = st.text(st.characters(codec="utf-8"), max_size=40)
words = st.text("abcdefgh_", min_size=1, max_size=8)
counts = st.integers(0, 2**53)

usages = st.fixed_dictionaries(
    {"prompt_tokens": counts, "completion_tokens": counts, "total_tokens": counts},
    optional={
        "cost": st.floats(0, 1000),
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": counts}),
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": counts}),
    },
)
calls = st.lists(
    st.fixed_dictionaries({"id": st.one_of(st.just(""), words), "name": words, "arguments": texts}),
    max_size=4,
)
# Reasoning comes as text, or as details whose words are told beside them (OpenRouter) or not.
reasonings = st.one_of(
    st.fixed_dictionaries({"reasoning": texts, "details": st.just([]), "told": st.just(False)}),
    st.fixed_dictionaries(
        {
            "reasoning": st.just(""),
            "details": st.lists(
                st.fixed_dictionaries({"type": st.just("reasoning.text"), "text": texts}),
                max_size=3,
            ),
            "told": st.booleans(),
        }
    ),
)
bodies = st.fixed_dictionaries(
    {
        "content": texts,
        "refusal": texts,
        "calls": calls,
        "finish": st.sampled_from(["stop", "length", "tool_calls", "content_filter", "odd", ""]),
        "usage": st.one_of(st.none(), usages),
        "annotations": st.lists(
            st.builds(lambda url: {"type": "url_citation", "url_citation": {"url": url}}, words),
            max_size=2,
        ),
    }
)
answers = st.builds(dict.__or__, reasonings, bodies)


def whole(answer: dict[str, Any]) -> bytes:
    """The answer as a unary body."""
    message: dict[str, Any] = {"role": "assistant", "content": answer["content"] or None}
    words = "".join(detail["text"] for detail in answer["details"]) if answer["told"] else ""
    if words or answer["reasoning"]:
        message["reasoning"] = words + answer["reasoning"]
    if answer["details"]:
        message["reasoning_details"] = [
            detail | {"index": index} for index, detail in enumerate(answer["details"])
        ]
    if answer["refusal"]:
        message["refusal"] = answer["refusal"]
    if answer["calls"]:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in answer["calls"]
        ]
    if answer["annotations"]:
        message["annotations"] = answer["annotations"]
    choice = {"index": 0, "message": message, "finish_reason": answer["finish"]}
    return json.dumps(HEAD | {"choices": [choice], "usage": answer["usage"]}).encode()


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    bounds = [0, *cuts, len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


@st.composite
def streamed(draw: st.DrawFn, answer: dict[str, Any]) -> list[bytes]:
    """The answer as an event stream, cut into pieces, split anywhere."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for index, detail in enumerate(answer["details"]):
        for text in pieces(draw, detail["text"]):
            fragment = detail | {"text": text, "index": index}
            told = {"reasoning": text} if answer["told"] else {}
            deltas.append({"reasoning_details": [fragment], **told})
    deltas += [{"reasoning": text} for text in pieces(draw, answer["reasoning"])]
    deltas += [{"content": text} for text in pieces(draw, answer["content"])]
    deltas += [{"refusal": text} for text in pieces(draw, answer["refusal"])]
    for index, call in enumerate(answer["calls"]):
        first, *rest = pieces(draw, call["arguments"])
        function = {"name": call["name"], "arguments": first}
        head = {"index": index, "id": call["id"], "type": "function", "function": function}
        deltas.append({"tool_calls": [head]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": text}}]} for text in rest
        ]
    if answer["annotations"]:
        deltas.append({"annotations": answer["annotations"]})
    chunks = [
        HEAD | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append(
        HEAD | {"choices": [{"index": 0, "delta": {}, "finish_reason": answer["finish"]}]}
    )
    if answer["usage"]:
        chunks.append(HEAD | {"choices": [], "usage": answer["usage"]})
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    ascii_only = draw(st.booleans())
    data = "".join(
        f"data: {json.dumps(chunk, ensure_ascii=ascii_only)}{newline}{newline}" for chunk in chunks
    )
    raw = f"{data}data: [DONE]{newline}{newline}".encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    bounds = [0, *cuts, len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(bounds)]


def fold_all(events: list[StreamEvent]) -> GenerateResponse:
    for number, event in enumerate(events):
        event.sequence = number
    return fold(events)


def decode_whole(body: bytes) -> GenerateResponse | int:
    """The response, or the reason of the error."""
    writer = EventWriter()
    try:
        ChatCodec().decoder(UPSTREAM, writer).decode(body)
    except ServiceError as error:
        return error.error.reason
    return fold_all(writer.take())


def decode_stream(chunks: list[bytes]) -> GenerateResponse | int:
    writer = EventWriter()
    decoder = ChatCodec().decoder(UPSTREAM, writer)
    events = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            events += writer.take()
        decoder.end()
    except ServiceError as error:
        return error.error.reason
    return fold_all(events + writer.take())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_streamed_equals_whole(data: st.DataObject) -> None:
    answer = data.draw(answers)
    assert decode_stream(data.draw(streamed(answer))) == decode_whole(whole(answer))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        "choices", "delta", "message", "content", "refusal", "tool_calls", "function", "name",
        "arguments", "id", "index", "usage", "prompt_tokens", "cost", "error", "code", "created",
        "model", "finish_reason", "reasoning", "reasoning_details", "annotations", "url_citation",
        "start_index", "end_index", "images", "image_url", "url", "type", "text", "metadata",
        "detail", "citations", "moderation", "logprobs", "prompt_tokens_details", "extra_content",
    ]
)  # fmt: skip
odd_answers = st.recursive(
    json_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
odd_messages = st.dictionaries(keys, odd_answers, max_size=6)


@settings(max_examples=200, deadline=None)
@given(odd_messages, odd_messages, odd_messages)
def test_odd_json_gives_an_answer_or_a_typed_error(
    answer: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]
) -> None:
    body = answer | {"choices": [choice | {"message": message, "delta": message}]}
    for value in (answer, body):
        text = json.dumps(value).encode()
        decode_whole(text)
        decode_stream([b"data: ", text, b"\n\ndata: [DONE]\n\n"])
        ChatCodec().decode_error(UPSTREAM, 400, {}, text, 0.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"\n\n", b"\r", b"{}"])))
def test_any_bytes_give_an_answer_or_a_typed_error(chunks: list[bytes]) -> None:
    decode_whole(b"".join(chunks))
    decode_stream(chunks)
    ChatCodec().decode_error(UPSTREAM, 500, {}, b"".join(chunks), 0.0)
