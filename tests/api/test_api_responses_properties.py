"""Properties of the Responses codec: streamed equals whole, no bytes break it, items go back."""

from __future__ import annotations

import itertools
import json
from typing import Any

from api_golden import numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from api_service.providers.codec import Upstream
from api_service.providers.openai_responses import ResponsesCodec
from api_service.providers.table import OPENAI
from marsys.stream import fold
from marsys.v1 import GenerateRequest, GenerateResponse, Message, Part, Role, TextPart
from serving.errors import ServiceError
from serving.event_writer import EventWriter

UPSTREAM = Upstream(OPENAI, "gpt-5.2")
HEAD = {"id": "resp_1", "object": "response", "created_at": 1768775269, "model": "gpt-5.2"}

texts = st.text(st.characters(codec="utf-8"), max_size=40)
words = st.text("abcdefgh_", min_size=1, max_size=8)
counts = st.integers(0, 2**53)
ids = st.uuids().map(str)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
annotations = st.builds(
    lambda url, end: {
        "type": "url_citation", "url": url, "title": "t", "start_index": 0, "end_index": end,
    },
    words,
    st.integers(1, 99),
) | st.builds(
    lambda name: {"type": "file_citation", "file_id": "file-1", "filename": name, "index": 3}, words
)  # fmt: skip
contents = st.builds(
    lambda text, noted: {"type": "output_text", "text": text, "annotations": noted},
    texts.filter(bool),
    st.lists(annotations, max_size=2),
) | st.builds(lambda text: {"type": "refusal", "refusal": text}, texts.filter(bool))
messages = st.builds(
    lambda item_id, content, phase: {
        "type": "message", "id": item_id, "role": "assistant", "status": "completed",
        "content": content,
    } | ({"phase": phase} if phase else {}),
    ids,
    st.lists(contents, min_size=1, max_size=2),
    st.sampled_from([None, "commentary", "final_answer"]),
)  # fmt: skip
# The words of a summary, or those of the reasoning itself, or neither.
reasonings = st.builds(
    lambda item_id, told, pieces, state: {
        "type": "reasoning", "id": item_id, "encrypted_content": state, "summary": [],
        told: [{"type": f"{told}_text", "text": text} for text in pieces],
    },
    ids,
    st.sampled_from(["summary", "content"]),
    st.lists(texts.filter(bool), max_size=3),
    words,
)  # fmt: skip
calls = st.builds(
    lambda item_id, name, given, caller: {
        "type": "function_call", "id": item_id, "status": "completed", "call_id": f"call_{item_id}",
        "name": name, "arguments": json.dumps(given),
    } | ({"caller": caller} if caller else {}),
    ids,
    words,
    st.dictionaries(words, json_values, max_size=3),
    st.none() | st.just({"type": "program", "caller_id": "call_p"}),
)  # fmt: skip
own_items = st.builds(
    lambda kind, item_id, given: {"type": kind, "id": item_id, "status": "completed", "x": given},
    st.sampled_from(["web_search_call", "mcp_call", "compaction", "custom_tool_call", "novelty"]),
    ids,
    json_values,
) | st.just(
    {"type": "image_generation_call", "id": "ig_1", "result": "AAEC", "output_format": "webp"}
)
outputs = st.lists(messages | reasonings | calls | own_items, min_size=1, max_size=5)
answers = st.fixed_dictionaries(
    {
        "output": outputs,
        "end": st.sampled_from(["completed", "max_output_tokens", "content_filter", "novelty"]),
        "usage": st.none()
        | st.fixed_dictionaries(
            {"input_tokens": counts, "output_tokens": counts, "total_tokens": counts},
            optional={
                "input_tokens_details": st.fixed_dictionaries({"cached_tokens": counts}),
                "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": counts}),
            },
        ),
    }
)


def response_of(answer: dict[str, Any]) -> dict[str, Any]:
    end = answer["end"]
    status = "completed" if end == "completed" else "incomplete"
    details = None if end == "completed" else {"reason": end}
    rest = {"output": answer["output"], "usage": answer["usage"], "error": None}
    return HEAD | rest | {"status": status, "incomplete_details": details}


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def told(draw: st.DrawFn, index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    """What a stream tells of an item; all but its end may be left out."""
    at = {"item_id": item["id"], "output_index": index}
    end = {"type": "response.output_item.done", "output_index": index, "item": item}
    if draw(st.integers(0, 9)) == 0:
        return [end]
    kind = item["type"]
    start = {**item, "status": "in_progress", "encrypted_content": "unfinished"}
    events = [{"type": "response.output_item.added", "output_index": index, "item": start}]
    if kind == "message":
        start["content"] = []
        for place, content in enumerate(item["content"]):
            name = "refusal" if content["type"] == "refusal" else "text"
            event = "response.refusal" if name == "refusal" else "response.output_text"
            here = {**at, "content_index": place}
            events += [
                {"type": f"{event}.delta", "delta": piece, **here}
                for piece in pieces(draw, content[name])
            ]
            if draw(st.booleans()):
                events.append({"type": f"{event}.done", name: content[name], **here})
    elif kind == "reasoning":
        for name in ("summary", "content"):
            start[name] = []
            event = f"response.reasoning_{'summary_' if name == 'summary' else ''}text.delta"
            events += [
                {"type": event, "delta": piece, f"{name}_index": place, **at}
                for place, one in enumerate(item.get(name, []))
                for piece in pieces(draw, one["text"])
            ]
    elif kind == "function_call":
        start["arguments"] = ""
        event = "response.function_call_arguments"
        events += [
            {"type": f"{event}.delta", "delta": piece, **at}
            for piece in pieces(draw, item["arguments"])
        ]
        if draw(st.booleans()):
            events.append({"type": f"{event}.done", "arguments": item["arguments"], **at})
    return [*events, end]


def interleaved(draw: st.DrawFn, series: list[list[Any]]) -> list[Any]:
    """The events of several items, mixed; they begin in order."""
    result = []
    begun = 0
    while any(series):
        ready = [index for index in range(begun) if series[index]]
        index = draw(st.sampled_from(ready + [begun] * (begun < len(series))))
        begun = max(begun, index + 1)
        result.append(series[index].pop(0))
    return result


@st.composite
def streamed(draw: st.DrawFn, answer: dict[str, Any]) -> list[bytes]:
    """The answer as an event stream, split anywhere."""
    response = response_of(answer)
    start = {"response": response | {"output": [], "usage": None, "status": "in_progress"}}
    series = [told(draw, index, item) for index, item in enumerate(answer["output"])]
    last = dict(response)
    if draw(st.booleans()):  # as a backend does that tells the items only once
        last["output"] = []
    events: list[dict[str, Any]] = [
        {"type": "response.created", **start},
        {"type": "response.in_progress", **start},
        *(interleaved(draw, series) if draw(st.booleans()) else itertools.chain(*series)),
        {"type": f"response.{response['status']}", "response": last},
    ]
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    named = draw(st.booleans())
    raw = "".join(
        (f"event: {event['type']}{newline}" if named else "")
        + f"data: {json.dumps(event)}{newline}{newline}"
        for event in events
    ).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    return [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]


def decode_whole(body: bytes) -> GenerateResponse | int:
    """The response, or the reason of the error."""
    writer = EventWriter()
    try:
        ResponsesCodec().decoder(UPSTREAM, writer).decode(body)
    except ServiceError as error:
        return error.error.reason
    return fold(numbered(writer.take()))


def decode_stream(chunks: list[bytes]) -> GenerateResponse | int:
    writer = EventWriter()
    decoder = ResponsesCodec().decoder(UPSTREAM, writer)
    events = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            events += writer.take()
        decoder.end()
    except ServiceError as error:
        return error.error.reason
    return fold(numbered(events + writer.take()))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_streamed_equals_whole(data: st.DataObject) -> None:
    answer = data.draw(answers)
    whole = decode_whole(json.dumps(response_of(answer)).encode())
    assert isinstance(whole, GenerateResponse)
    assert decode_stream(data.draw(streamed(answer))) == whole


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_stream_that_is_cut_off_is_an_error(data: st.DataObject) -> None:
    raw = b"".join(data.draw(streamed(data.draw(answers))))
    end = data.draw(st.integers(0, raw.rindex(b"data:")))
    assert isinstance(decode_stream([raw[:end]]), int)


@settings(max_examples=200, deadline=None)
@given(outputs)
def test_items_go_back_as_they_came(output: list[dict[str, Any]]) -> None:
    first = {"type": "reasoning", "id": "rs_0", "encrypted_content": "gAAA", "summary": []}
    items = [first, *output]
    answer = {"output": items, "end": "completed", "usage": None}
    response = decode_whole(json.dumps(response_of(answer)).encode())
    assert isinstance(response, GenerateResponse)
    hello = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="Hi"))])
    request = GenerateRequest(messages=[hello, response.message, hello])
    wire = ResponsesCodec().encode(request, UPSTREAM, False, EventWriter())
    assert json.loads(wire.body)["input"][1:-1] == items


keys = st.sampled_from(
    [
        "type", "response", "output", "item", "item_id", "output_index", "content_index",
        "summary_index", "delta", "text", "refusal", "arguments", "call_id", "name", "id", "status",
        "content", "summary", "annotations", "encrypted_content", "usage", "input_tokens", "error",
        "message", "code", "detail", "model", "created_at", "incomplete_details", "reason",
        "result", "output_format", "logprobs", "moderation", "content_filters", "blocked", "data",
        "environment", "phase", "url", "start_index", "end_index",
    ]
)  # fmt: skip
kinds = st.sampled_from(
    [
        "message", "reasoning", "function_call", "image_generation_call", "web_search_call",
        "output_text", "refusal", "summary_text", "reasoning_text", "completed", "incomplete",
        "failed", "queued", "error", "response.created", "response.completed", "response.failed",
        "response.output_item.added", "response.output_item.done", "response.output_text.delta",
        "response.output_text.done", "response.refusal.delta", "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "url_citation", "shell_call", "server_error",
    ]
)  # fmt: skip
odd_values = st.recursive(
    json_values | kinds | st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
odd_objects = st.dictionaries(keys, odd_values, max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_objects, max_size=5), odd_objects)
def test_odd_json_gives_an_answer_or_a_typed_error(
    items: list[dict[str, Any]], answer: dict[str, Any]
) -> None:
    for value in (answer, answer | {"output": items}, HEAD | {"output": items}):
        text = json.dumps(value).encode()
        decode_whole(text)
        ResponsesCodec().decode_error(UPSTREAM, 400, {}, text, 0.0)
    end = {"type": "response.completed", "response": HEAD | {"output": items}}
    raw = "".join(f"data: {json.dumps(event)}\n\n" for event in [*items, answer, end])
    decode_stream([raw.encode()])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"\n\n", b"\r", b"{}"])))
def test_any_bytes_give_an_answer_or_a_typed_error(chunks: list[bytes]) -> None:
    decode_whole(b"".join(chunks))
    decode_stream(chunks)
    ResponsesCodec().decode_error(UPSTREAM, 500, {}, b"".join(chunks), 0.0)
