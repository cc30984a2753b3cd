"""Google generateContent: recordings of live exchanges."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from api_golden import numbered, recordings_of, targets_of
from api_google_requests import NotExpressible, as_google_sees, read_request, without_defaults

from api_service.providers.codec import Upstream
from api_service.providers.google import GoogleCodec
from api_service.providers.table import GOOGLE
from marsys.stream import fold
from marsys.v1 import ErrorReason, FinishReason, GenerateResponse
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

WIRE = "google_generate_content"
RECORDINGS = recordings_of(WIRE)
CALL = Call("id", "ipv4:127.0.0.1:1", None, False)
ABOUT = {"groundingMetadata", "urlContextMetadata", "citationMetadata", "logprobsResult"}

pytestmark = pytest.mark.skipif(not RECORDINGS, reason="the recordings are not here")


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def chunks_of(response: Any) -> list[dict[str, Any]]:
    """What came, as a list of chunks."""
    if not isinstance(response, str):
        return [response]
    if not response.startswith("data:"):
        return [json.loads(response)]
    lines = response.splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def decoded(response: Any, stream: bool) -> GenerateResponse:
    writer = EventWriter()
    decoder = GoogleCodec().decoder(Upstream(GOOGLE, "some-model"), writer)
    body = response.encode() if isinstance(response, str) else json.dumps(response).encode()
    if stream:
        decoder.feed(body)
        decoder.end()
    else:
        decoder.decode(body)
    return fold(numbered(writer.take()))


def parts_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        part
        for chunk in chunks
        for candidate in chunk.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]


def is_image(part: dict[str, Any]) -> bool:
    return "inlineData" in part and not part.get("thought")


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_answer_loses_nothing(path: Path) -> None:
    recording = load(path)
    response = recording["response"]
    chunks = chunks_of(response)
    stream = isinstance(response, str)
    if recording["status"] != 200:
        body = response if stream else json.dumps(response)
        upstream, headers = Upstream(GOOGLE, "some-model"), recording["response_headers"]
        error = GoogleCodec().decode_error(
            upstream, recording["status"], headers, body.encode(), 0.0
        )
        assert error.reason != ErrorReason.ERROR_REASON_UNKNOWN
        assert error.http_status == recording["status"]
        return
    if not parts_of(chunks):
        check_without_content(response, chunks)
        return
    answer = decoded(response, stream)
    parts, sent = list(answer.message.parts), parts_of(chunks)
    texts = [part["text"] for part in sent if "text" in part and not part.get("thought")]
    thoughts = [part["text"] for part in sent if "text" in part and part.get("thought")]
    assert "".join(part.text.text for part in parts) == "".join(texts)
    assert "".join(part.reasoning.text for part in parts) == "".join(thoughts)
    calls = [part["functionCall"] for part in sent if "functionCall" in part]
    got = [part.tool_call for part in parts if part.HasField("tool_call")]
    assert [(call.name, json.loads(call.arguments_json)) for call in got] == [
        (call["name"], call.get("args", {})) for call in calls
    ]
    assert all(call.id == sent.get("id", call.id) != "" for call, sent in zip(got, calls, strict=1))
    images = [part["inlineData"]["data"] for part in sent if is_image(part)]
    media = [part.media.data for part in parts if part.HasField("media")]
    assert media == [base64.b64decode(image) for image in images]
    blocks = [part.provider for part in parts if part.HasField("provider")]
    known = {"text", "functionCall"}
    others = [part for part in sent if not part.keys() & known and not is_image(part)]
    assert [json.loads(one.payload_json) for one in blocks if one.type not in ABOUT] == others
    signatures = [part["thoughtSignature"] for part in sent if "thoughtSignature" in part]
    kept = [
        part.opaque_state.data.decode()
        or json.loads(part.provider.payload_json or "{}").get("thoughtSignature")
        for part in parts
        if part.HasField("opaque_state") or part.provider.type not in ABOUT | {""}
    ]
    assert [one for one in kept if one] == signatures
    check_rest(answer, chunks)


def check_without_content(response: Any, chunks: list[dict[str, Any]]) -> None:
    """An answer without parts: a typed error that says why, or an answer that was cut off."""
    candidates = chunks[-1].get("candidates", [{}])
    if candidates[0].get("finishReason") == "MAX_TOKENS":
        assert decoded(response, isinstance(response, str)).raw_finish_reason == "MAX_TOKENS"
        return
    with pytest.raises(ServiceError) as caught:
        decoded(response, isinstance(response, str))
    feedback = chunks[0].get("promptFeedback", {})
    if feedback.get("blockReason"):
        assert caught.value.error.reason == ErrorReason.ERROR_REASON_REFUSAL
        assert feedback["blockReason"] in caught.value.error.message
    else:
        assert caught.value.error.reason in (
            ErrorReason.ERROR_REASON_REFUSAL,
            ErrorReason.ERROR_REASON_EMPTY_COMPLETION,
        )


def check_rest(answer: GenerateResponse, chunks: list[dict[str, Any]]) -> None:
    """What is not in the parts, and what is told about the answer."""
    last = chunks[-1]
    candidate = last["candidates"][0]
    assert answer.response_id == last["responseId"]
    assert answer.model == last["modelVersion"]
    assert answer.raw_finish_reason == candidate["finishReason"]
    calls = any(part.HasField("tool_call") for part in answer.message.parts)
    wanted = FinishReason.FINISH_REASON_TOOL_CALLS if calls else FinishReason.FINISH_REASON_STOP
    if candidate["finishReason"] == "STOP":
        assert answer.finish_reason == wanted
        assert not answer.warnings
    else:
        assert answer.finish_reason != wanted
    usage = last["usageMetadata"]
    assert answer.usage.total_tokens == usage["totalTokenCount"]
    assert answer.usage.input_tokens + answer.usage.output_tokens == usage["totalTokenCount"]
    assert answer.usage.reasoning_tokens == usage.get("thoughtsTokenCount", 0)
    assert answer.usage.cache_read_tokens == usage.get("cachedContentTokenCount", 0)
    if "createTime" in last:
        assert answer.create_time.ToJsonString()[:19] == last["createTime"][:19]
    blocks = {part.provider.type: part.provider for part in answer.message.parts}
    for key in ABOUT:
        told = [chunk["candidates"][0][key] for chunk in chunks if chunk["candidates"][0].get(key)]
        if told:
            assert json.loads(blocks[key].payload_json) == told[-1]
    grounding = candidate.get("groundingMetadata", {})
    supports = grounding.get("groundingSupports", [])
    cited = [citation for part in answer.message.parts for citation in part.text.citations]
    assert len(cited) >= sum(len(one.get("groundingChunkIndices", [])) for one in supports)
    if supports:
        segments = {support["segment"]["text"] for support in supports}
        for part in answer.message.parts:
            for citation in part.text.citations:
                if citation.HasField("end_index"):
                    words = part.text.text[citation.start_index : citation.end_index]
                    assert words in segments


@pytest.mark.parametrize(
    "path",
    [path for path in RECORDINGS if load(path)["uri"].endswith(":generateContent")],
    ids=lambda path: path.stem,
)
def test_answer_is_the_same_as_a_stream(path: Path) -> None:
    response = load(path)["response"]
    if isinstance(response, str) or not response.get("candidates"):
        return
    whole = decoded(response, stream=False)
    line = f"data: {json.dumps(response)}\n\n"
    streamed = decoded(line, stream=True)
    if "createTime" not in response:
        whole.ClearField("create_time")
        streamed.ClearField("create_time")
    assert streamed == whole


def test_requests_are_made_that_google_takes_as_the_same() -> None:
    """Of all recorded requests. Those that can't be expressed are told by name."""
    cannot: dict[str, str] = {}
    for path in RECORDINGS:
        recording = load(path)
        theirs = as_google_sees(recording["request"])
        try:
            request = read_request(recording["uri"], recording["request"])
        except NotExpressible as error:
            cannot[path.stem] = str(error)
            continue
        validate(request)
        target = targets_of(WIRE).resolve(request, CALL)
        stream = "streamGenerateContent" in recording["uri"]
        writer = EventWriter()
        wire = target.codec.encode(request, target.upstream, stream, writer)
        ours = without_defaults(as_google_sees(json.loads(wire.body)), theirs)
        assert ours == theirs, path.stem
        assert recording["uri"].endswith(wire.path), path.stem
    assert len(cannot) <= len(RECORDINGS) * 0.02, cannot


def test_signatures_go_back_as_they_came() -> None:
    """The request that followed a recorded answer held its signatures; so does ours."""
    checked = 0
    for path in RECORDINGS:
        recording = load(path)
        chunks = chunks_of(recording["response"])
        if not any("thoughtSignature" in part for part in parts_of(chunks)):
            continue
        answer = decoded(recording["response"], isinstance(recording["response"], str))
        request = read_request(recording["uri"], recording["request"])
        request.messages.append(answer.message)
        for part in answer.message.parts:
            if part.HasField("tool_call"):
                result = request.messages.add(role="ROLE_TOOL").parts.add().tool_result
                result.tool_call_id = part.tool_call.id
        target = targets_of(WIRE).resolve(request, CALL)
        wire = target.codec.encode(request, target.upstream, False, EventWriter())
        contents = json.loads(wire.body)["contents"]
        sent = [
            part for content in contents if content["role"] == "model" for part in content["parts"]
        ]
        wanted = [
            part["thoughtSignature"] for part in parts_of(chunks) if "thoughtSignature" in part
        ]
        assert [part["thoughtSignature"] for part in sent if "thoughtSignature" in part][
            -len(wanted) :
        ] == wanted
        checked += 1
    assert checked >= 10
