"""Oddities of servers that the OpenAI Chat Completions decoder understands."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from api_upstream import completion, delta

from api_service.providers.codec import Upstream
from api_service.providers.openai_chat import ChatCodec
from api_service.providers.table import CUSTOM
from marsys.stream import fold
from marsys.v1 import ErrorReason, FinishReason, GenerateResponse
from serving.errors import ServiceError
from serving.event_writer import EventWriter

UPSTREAM = Upstream(CUSTOM, "some-model")


def streamed(*chunks: Any, done: bool = True) -> GenerateResponse:
    writer = EventWriter()
    decoder = ChatCodec().decoder(UPSTREAM, writer)
    for chunk in chunks:
        decoder.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    if done:
        decoder.feed(b"data: [DONE]\n\n")
    decoder.end()
    return folded(writer)


def whole(body: Any) -> GenerateResponse:
    writer = EventWriter()
    ChatCodec().decoder(UPSTREAM, writer).decode(json.dumps(body).encode())
    return folded(writer)


def folded(writer: EventWriter) -> GenerateResponse:
    events = writer.take()
    for number, event in enumerate(events):
        event.sequence = number
    return fold(events)


def message(finish: str | None = "stop", **keys: Any) -> dict[str, Any]:
    body = completion()
    body["choices"] = [{"index": 0, "message": keys, "finish_reason": finish}]
    return body


def call(name: str, arguments: Any, **keys: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **keys}


def calls_of(answer: GenerateResponse) -> list[tuple[str, str, str]]:
    calls = [part.tool_call for part in answer.message.parts if part.HasField("tool_call")]
    return [(each.id, each.name, each.arguments_json) for each in calls]


def test_every_call_has_the_index_0() -> None:
    first, second = call("f", "{}", index=0, id="a"), call("g", "{}", index=0, id="b")
    answer = streamed(delta(tool_calls=[first]), delta(tool_calls=[second]), delta(finish="stop"))
    assert calls_of(answer) == [("a", "f", "{}"), ("b", "g", "{}")]
    assert answer.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS


def test_name_is_repeated_in_each_fragment() -> None:
    pieces = [call("f", text, index=0, id="a") for text in ('{"x"', ": 1}")]
    answer = streamed(*(delta(tool_calls=[piece]) for piece in pieces), delta(finish="tool_calls"))
    assert calls_of(answer) == [("a", "f", '{"x": 1}')]


def test_arguments_come_before_the_name() -> None:
    early = {"index": 0, "id": "a", "function": {"arguments": '{"x"'}}
    answer = streamed(
        delta(tool_calls=[early]),
        delta(tool_calls=[call("f", ": 1}", index=0)]),
        delta(finish="tool_calls"),
    )
    assert calls_of(answer) == [("a", "f", '{"x": 1}')]


def test_same_id_for_all_calls() -> None:
    answer = whole(message(tool_calls=[call("f", "{}", id="a"), call("g", "{}", id="a")]))
    (first, *_), (second, *_) = calls_of(answer)
    assert first == "a"
    assert second.startswith("call_")


def test_arguments_as_an_object() -> None:
    answer = whole(message(tool_calls=[call("f", {"x": 1}, id="a")]))
    assert calls_of(answer) == [("a", "f", '{"x":1}')]


def test_arguments_that_were_cut_off_stay_as_they_are() -> None:
    answer = whole(message("length", tool_calls=[call("f", "", id="a")]))
    assert calls_of(answer) == [("a", "f", "")]
    assert answer.finish_reason == FinishReason.FINISH_REASON_LENGTH


def test_call_without_a_name_is_malformed() -> None:
    with pytest.raises(ServiceError) as caught:
        whole(message(tool_calls=[{"id": "a", "function": {"arguments": "{}"}}]))
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE


def test_call_of_an_unknown_kind_is_told() -> None:
    answer = whole(message(content="x", tool_calls=[{"id": "a", "type": "custom", "custom": {}}]))
    assert [warning.message.split(":")[0] for warning in answer.warnings] == ["tool_calls"]


def test_image_in_the_answer() -> None:
    data = base64.b64encode(b"png").decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    for answer in (
        whole(message(content="", images=[image])),
        streamed(delta(images=[image]), delta(finish="stop")),
    ):
        media = answer.message.parts[0].media
        assert (media.media_type, media.data) == ("image/png", b"png")


def test_reasoning_under_both_names_is_told_once() -> None:
    answer = whole(message(content="x", reasoning="Hm.", reasoning_content="Hm."))
    assert answer.message.parts[0].reasoning.text == "Hm."


def test_addresses_of_sources() -> None:
    answer = whole(message(content="x") | {"citations": ["https://a.example", 5]})
    assert [one.uri for one in answer.message.parts[0].text.citations] == ["https://a.example"]


def test_stream_without_done_is_whole_after_a_finish_reason() -> None:
    answer = streamed(delta("x"), delta(finish="stop"), done=False)
    assert answer.message.parts[0].text.text == "x"


def test_stream_without_a_finish_reason_is_whole_after_done() -> None:
    answer = streamed(delta("x"))
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP


@pytest.mark.parametrize("body", [message(content=""), completion() | {"choices": []}])
def test_empty_answer(body: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        whole(body)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_EMPTY_COMPLETION
    assert not caught.value.error.retryable


def test_empty_answer_that_was_cut_off() -> None:
    answer = whole(message("length", content=""))
    assert not answer.message.parts
    assert answer.finish_reason == FinishReason.FINISH_REASON_LENGTH


def test_unknown_finish_reason_is_kept() -> None:
    answer = whole(message("bored", content="x"))
    assert answer.finish_reason == FinishReason.FINISH_REASON_OTHER
    assert answer.raw_finish_reason == "bored"


def test_nearly_json() -> None:
    writer = EventWriter()
    decoder = ChatCodec().decoder(UPSTREAM, writer)
    decoder.feed(b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"x":NaN}]}\n\n')
    decoder.feed(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
    decoder.end()
    assert folded(writer).message.parts[0].text.text == "a\ufffd"


def test_unknown_usage_is_absent() -> None:
    answer = whole(message(content="x") | {"usage": {"prompt_tokens": 3, "total_tokens": None}})
    assert answer.usage.input_tokens == 3
    assert not answer.usage.HasField("output_tokens")
    assert not answer.usage.HasField("total_tokens")
    assert not answer.HasField("cost")
