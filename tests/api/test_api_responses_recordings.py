"""OpenAI Responses: recordings of live exchanges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_golden import numbered, recordings_of, targets_of
from api_responses_requests import (
    NotExpressible,
    as_openai_sees,
    read_request,
    without_defaults,
)

from api_service.providers.codec import Upstream
from api_service.providers.openai_responses import ResponsesCodec
from api_service.providers.table import OPENAI
from marsys.stream import fold
from marsys.v1 import ErrorReason, FinishReason, GenerateResponse, Part
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

WIRE = "openai_responses"
RECORDINGS = recordings_of(WIRE)
CALL = Call("id", "ipv4:127.0.0.1:1", None, False)
UPSTREAM = Upstream(OPENAI, "some-model")

pytestmark = pytest.mark.skipif(not RECORDINGS, reason="the recordings are not here")


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def response_of(response: Any) -> dict[str, Any]:
    """The whole response, put together from its events where it was streamed."""
    if not isinstance(response, str):
        return dict(response)
    items: dict[int, Any] = {}
    last: dict[str, Any] = {}
    for line in response.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        if event["type"] == "response.output_item.done":
            items[event["output_index"]] = event["item"]
        last = event.get("response", last)
    return last | {"output": [items[index] for index in sorted(items)]}


def decoded(response: Any) -> GenerateResponse:
    writer = EventWriter()
    decoder = ResponsesCodec().decoder(UPSTREAM, writer)
    if isinstance(response, str):
        decoder.feed(response.encode())
        decoder.end()
    else:
        decoder.decode(json.dumps(response).encode())
    return fold(numbered(writer.take()))


def is_answer(recording: dict[str, Any]) -> bool:
    ends = ("completed", "complete", "incomplete")
    done = response_of(recording["response"]).get("status") in ends
    return recording["status"] == 200 and done


ANSWERS = [path for path in RECORDINGS if is_answer(load(path))]
OTHERS = [path for path in RECORDINGS if path not in ANSWERS]


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_answer_loses_nothing(path: Path) -> None:
    recording = load(path)
    response = response_of(recording["response"])
    answer = decoded(recording["response"])
    parts = iter(answer.message.parts)
    for item in response["output"]:
        check_item(parts, item)
    about = [part.provider.type for part in parts]
    assert about == (["moderation"] if response.get("moderation") else [])
    assert answer.response_id == response["id"]
    assert answer.model == response["model"]
    assert answer.create_time.ToSeconds() == int(response["created_at"])
    assert answer.finish_reason == finish_of(response)
    assert answer.raw_finish_reason == (
        (response.get("incomplete_details") or {}).get("reason") or response["status"]
    )
    usage, told = answer.usage, response["usage"]
    assert usage.input_tokens == told["input_tokens"]
    assert usage.output_tokens == told["output_tokens"]
    assert usage.total_tokens == told["total_tokens"]
    assert usage.reasoning_tokens == told["output_tokens_details"]["reasoning_tokens"]
    inputs = told["input_tokens_details"]
    assert usage.cache_read_tokens == inputs["cached_tokens"]
    assert usage.HasField("cache_write_tokens") == ("cache_write_tokens" in inputs)
    assert usage.cache_write_tokens == inputs.get("cache_write_tokens", 0)
    warned = {warning.message.partition(":")[0] for warning in answer.warnings}
    assert warned == ({"logprobs"} if has_logprobs(response) else set())


def check_item(parts: Iterator[Part], item: dict[str, Any]) -> None:
    kind = item["type"]
    if kind == "message":
        check_message(parts, item)
        return
    part = next(parts)
    state = json.loads(part.opaque_state.data) if part.HasField("opaque_state") else {}
    if kind == "reasoning":
        told = item["summary"] or item.get("content") or []
        assert part.reasoning.text == "\n\n".join(one["text"] for one in told)
        assert part.reasoning.redacted == (not told)
        assert state == item
    elif kind == "function_call":
        assert part.tool_call.id == item["call_id"]
        assert part.tool_call.name == item["name"]
        assert part.tool_call.arguments_json == item["arguments"]
        assert state.items() <= item.items()
    elif kind == "image_generation_call" and item.get("result"):
        assert part.media.data
        assert state == {key: value for key, value in item.items() if key != "result"}
    else:
        assert part.provider.type == kind
        assert json.loads(part.provider.payload_json) == item


def check_message(parts: Iterator[Part], item: dict[str, Any]) -> None:
    remarks = []
    for content in item["content"]:
        if content["type"] == "refusal":
            assert next(parts).refusal.text == content["refusal"]
            continue
        if not content["text"]:
            continue
        part = next(parts)
        assert part.text.text == content["text"]
        given = content["annotations"]
        sources = [one for one in given if one["type"] == "url_citation"]
        cited = [one for one in part.text.citations if one.uri]
        assert [one.uri for one in cited] == [one["url"] for one in sources]
        assert [(one.start_index, one.end_index) for one in cited] == [
            (one["start_index"], one["end_index"]) for one in sources
        ]
        remarks += [one for one in given if one["type"] != "url_citation"]
        state = json.loads(part.opaque_state.data) if part.HasField("opaque_state") else {}
        assert state.get("annotations", []) == given
        assert state.get("phase") == item.get("phase")
    for remark in remarks:
        assert json.loads(next(parts).provider.payload_json) == remark


def has_logprobs(response: dict[str, Any]) -> bool:
    contents = [one for item in response["output"] for one in item.get("content") or ()]
    return any(one.get("logprobs") for one in contents)


def finish_of(response: dict[str, Any]) -> FinishReason.ValueType:
    if response["status"] == "incomplete":
        cut = response["incomplete_details"]["reason"] == "max_output_tokens"
        length, filtered = (
            FinishReason.FINISH_REASON_LENGTH,
            FinishReason.FINISH_REASON_CONTENT_FILTER,
        )
        return length if cut else filtered
    kinds = {item["type"] for item in response["output"]}
    refused = any(
        one["type"] == "refusal" for item in response["output"] for one in item.get("content") or ()
    )
    for_caller = {
        "function_call", "custom_tool_call", "computer_call", "local_shell_call",
        "apply_patch_call", "mcp_approval_request",
    }  # fmt: skip
    if kinds & for_caller:
        return FinishReason.FINISH_REASON_TOOL_CALLS
    if refused:
        return FinishReason.FINISH_REASON_CONTENT_FILTER
    return FinishReason.FINISH_REASON_STOP


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_what_is_no_answer_is_a_typed_error(path: Path) -> None:
    recording = load(path)
    response = recording["response"]
    if recording["status"] == 200:
        with pytest.raises(ServiceError) as caught:
            decoded(response)
        error = caught.value.error
        if response_of(response).get("status") in ("queued", "in_progress"):
            assert error.field == 'provider_options_json["background"]'
    else:
        body = response if isinstance(response, str) else json.dumps(response)
        error = ResponsesCodec().decode_error(
            UPSTREAM, recording["status"], recording["response_headers"], body.encode(), 0.0
        )
        assert error.http_status == recording["status"]
        told = response.get("error", {}) if isinstance(response, dict) else {}
        assert (told.get("message") or "")[:1000] in error.message
    assert error.reason
    assert error.reason != ErrorReason.ERROR_REASON_UNKNOWN


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_answer_is_the_same_as_a_stream(path: Path) -> None:
    response = response_of(load(path)["response"])
    whole = decoded(response)
    assert decoded(streamed(response)) == whole
    assert decoded(streamed(response | {"output": []}, response["output"])) == whole


def streamed(response: dict[str, Any], items: list[Any] | None = None) -> str:
    """The response as events, each item whole at its end."""
    start = response | {"output": [], "status": "in_progress", "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": start}]
    for index, item in enumerate(response["output"] if items is None else items):
        at = {"output_index": index}
        events.append({"type": "response.output_item.added", "item": item, **at})
        events.append({"type": "response.output_item.done", "item": item, **at})
    kind = "incomplete" if response["status"] == "incomplete" else "completed"
    events.append({"type": f"response.{kind}", "response": response})
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)


def test_requests_are_made_that_openai_takes_as_the_same() -> None:
    """Of all recorded requests. Those that can't be expressed are told by name."""
    cannot: dict[str, str] = {}
    for path in RECORDINGS:
        recording = load(path)
        theirs = as_openai_sees(recording["request"])
        try:
            request = read_request(recording["request"])
            validate(request)
        except (NotExpressible, ServiceError) as error:
            cannot[path.stem] = str(error)
            continue
        target = targets_of(WIRE).resolve(request, CALL)
        stream = bool(recording["request"].get("stream"))
        wire = target.codec.encode(request, target.upstream, stream, EventWriter())
        body = json.loads(wire.body)
        assert body.get("stream", False) == stream
        assert without_defaults(as_openai_sees(body), theirs) == theirs, path.stem
        assert recording["uri"].partition("?")[0].endswith(wire.path)
    # What stays: results of tool calls that only the provider remembers.
    assert len(cannot) <= len(RECORDINGS) * 0.1, cannot


def test_answers_go_back_as_they_came() -> None:
    """Each item of a recorded answer is in the next request as it was received."""
    for path in ANSWERS:
        response = response_of(load(path)["response"])
        answer = decoded(response)
        question = {"role": "user", "content": "Hello"}
        request = read_request({"model": "gpt-5.2", "input": [question]})
        request.messages.append(answer.message)
        target = targets_of(WIRE).resolve(request, CALL)
        wire = target.codec.encode(request, target.upstream, False, EventWriter())
        sent = as_openai_sees(json.loads(wire.body))["input"][1:]
        came = as_openai_sees({"model": "", "input": response["output"]})["input"]
        assert len(sent) == len(came)
        reasoned = False
        for ours, theirs in zip(sent, came, strict=True):
            # Where no reasoning stands before it, the provider needs no id of an item.
            formal = set() if reasoned else {"id", "status"}
            assert theirs.keys() - ours.keys() <= formal, path.stem
            assert ours == {key: theirs[key] for key in ours}, path.stem
            reasoned = reasoned or theirs["type"] == "reasoning"
