"""Anthropic Messages: recordings of live exchanges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_anthropic_requests import (
    NotExpressible,
    as_anthropic_sees,
    clash_of,
    read_request,
    without_defaults,
)
from api_golden import numbered, recordings_of, targets_of

from api_service.providers.anthropic import AnthropicCodec
from api_service.providers.codec import Upstream
from api_service.providers.table import ANTHROPIC
from marsys.stream import fold
from marsys.v1 import FinishReason, GenerateResponse, Part
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

WIRE = "anthropic_messages"
RECORDINGS = recordings_of(WIRE)
CALL = Call("id", "ipv4:127.0.0.1:1", None, False)
ABOUT = ("container", "context_management", "stop_details")
FINISH = {
    "end_turn": FinishReason.FINISH_REASON_STOP,
    "stop_sequence": FinishReason.FINISH_REASON_STOP,
    "tool_use": FinishReason.FINISH_REASON_TOOL_CALLS,
    "max_tokens": FinishReason.FINISH_REASON_LENGTH,
    "pause_turn": FinishReason.FINISH_REASON_PAUSE,
    "refusal": FinishReason.FINISH_REASON_CONTENT_FILTER,
}

pytestmark = pytest.mark.skipif(not RECORDINGS, reason="the recordings are not here")


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def message_of(response: Any) -> dict[str, Any]:
    """The whole message, put together from its events where it was streamed."""
    if not isinstance(response, str):
        return dict(response)
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    for line in response.splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            elif delta["type"] == "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            else:
                for key in delta.keys() & {"text", "thinking", "signature"}:
                    block[key] = block.get(key, "") + delta[key]
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text or "{}")
    return message


def decoded(response: Any, stream: bool) -> GenerateResponse:
    writer = EventWriter()
    decoder = AnthropicCodec().decoder(Upstream(ANTHROPIC, "some-model"), writer)
    body = response.encode() if isinstance(response, str) else json.dumps(response).encode()
    if stream:
        decoder.feed(body)
        decoder.end()
    else:
        decoder.decode(body)
    answer = fold(numbered(writer.take()))
    answer.ClearField("create_time")  # Anthropic tells none
    return answer


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_answer_loses_nothing(path: Path) -> None:
    recording = load(path)
    response = recording["response"]
    if recording["status"] != 200:
        body = response if isinstance(response, str) else json.dumps(response)
        error = AnthropicCodec().decode_error(
            Upstream(ANTHROPIC, "some-model"),
            recording["status"],
            recording["response_headers"],
            body.encode(),
            0.0,
        )
        assert error.http_status == recording["status"]
        assert error.reason
        return
    message = message_of(response)
    answer = decoded(response, isinstance(response, str))
    assert not answer.warnings
    parts = [part for part in answer.message.parts if part.provider.type not in ABOUT]
    assert len(parts) == len(message["content"])
    for part, block in zip(parts, message["content"], strict=True):
        check_block(part, block)
    about = {part.provider.type for part in answer.message.parts if part.provider.type in ABOUT}
    assert about == {key for key in ABOUT if any((message.get(key) or {}).values())}
    assert answer.response_id == message["id"]
    assert answer.model == message["model"]
    assert answer.finish_reason == FINISH[message["stop_reason"]]
    assert answer.raw_finish_reason == message["stop_reason"]
    usage = message["usage"]
    cached = [usage[f"cache_{kind}_input_tokens"] or 0 for kind in ("read", "creation")]
    assert answer.usage.input_tokens == usage["input_tokens"] + sum(cached)
    assert [answer.usage.cache_read_tokens, answer.usage.cache_write_tokens] == cached
    assert answer.usage.output_tokens == usage["output_tokens"]
    details = usage.get("output_tokens_details") or {}
    assert answer.usage.reasoning_tokens == details.get("thinking_tokens", 0)


def check_block(part: Part, block: dict[str, Any]) -> None:
    state = part.opaque_state.data.decode()
    if block["type"] == "text":
        assert part.text.text == block["text"]
        given = block.get("citations") or []
        assert [one.cited_text for one in part.text.citations] == [
            one["cited_text"] for one in given
        ]
        assert [one.uri for one in part.text.citations] == [one.get("url", "") for one in given]
        assert (json.loads(state)["citations"] if given else []) == given
    elif block["type"] == "thinking":
        assert part.reasoning.text == block["thinking"]
        assert state == block["signature"]
    elif block["type"] == "redacted_thinking":
        assert part.reasoning.redacted
        assert state == block["data"]
    elif block["type"] == "tool_use":
        assert part.tool_call.id == block["id"]
        assert part.tool_call.name == block["name"]
        assert json.loads(part.tool_call.arguments_json) == block["input"]
        caller = block.get("caller")
        assert bool(state) == bool(caller and caller["type"] != "direct")
    else:
        assert part.provider.type == block["type"]
        assert json.loads(part.provider.payload_json) == block


@pytest.mark.parametrize(
    "path",
    [path for path in RECORDINGS if load(path)["status"] == 200],
    ids=lambda path: path.stem,
)
def test_answer_is_the_same_as_a_stream(path: Path) -> None:
    message = message_of(load(path)["response"])
    whole = decoded(message, stream=False)
    assert decoded(streamed(message), stream=True) == whole


def streamed(message: dict[str, Any]) -> str:
    """The message as events, each block whole at its start."""
    start = message | {"content": [], "stop_reason": None, "stop_sequence": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(message["content"]):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    delta = {key: message.get(key) for key in ("stop_reason", "stop_sequence")}
    events.append({"type": "message_delta", "delta": delta, "usage": message["usage"]})
    events.append({"type": "message_stop"})
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)


def test_requests_are_made_that_anthropic_takes_as_the_same() -> None:
    """Of all recorded requests. Those that can't be expressed are told by name."""
    cannot: dict[str, str] = {}
    for path in RECORDINGS:
        recording = load(path)
        theirs = as_anthropic_sees(recording["request"])
        try:
            request = read_request(recording["request"])
        except NotExpressible as error:
            cannot[path.stem] = str(error)
            continue
        validate(request)
        target = targets_of(WIRE).resolve(request, CALL)
        stream = bool(recording["request"].get("stream"))
        wire = target.codec.encode(request, target.upstream, stream, EventWriter())
        body = json.loads(wire.body)
        assert clash_of(body) == clash_of(recording["request"]), path.stem
        ours = without_defaults(as_anthropic_sees(body), theirs)
        assert ours == theirs, path.stem
        assert recording["uri"].partition("?")[0].endswith(wire.path)
    # What stays: references to deferred tools in tool results and system messages.
    assert len(cannot) <= len(RECORDINGS) * 0.2, cannot


def test_answers_go_back_as_they_came() -> None:
    """Each block of a recorded answer is in the next request as it was received."""
    for path in RECORDINGS:
        recording = load(path)
        if recording["status"] != 200:
            continue
        message = message_of(recording["response"])
        answer = decoded(message, stream=False)
        request = read_request({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [HELLO]})
        request.messages.append(answer.message)
        again = request.messages.add(role="ROLE_USER").parts.add()
        again.text.text = "Go on"
        target = targets_of(WIRE).resolve(request, CALL)
        wire = target.codec.encode(request, target.upstream, False, EventWriter())
        sent = json.loads(wire.body)["messages"][1]["content"]
        assert sent == [kept(block) for block in message["content"] if block.get("text", "x")]


HELLO = {"role": "user", "content": "Hello"}


def kept(block: dict[str, Any]) -> dict[str, Any]:
    """A block as it goes back: nothing is said where nothing is to be said."""
    empty = {"citations": (None, []), "caller": ({"type": "direct"},)}
    if block["type"] not in ("text", "tool_use"):
        return block
    return {key: value for key, value in block.items() if value not in empty.get(key, ())}
