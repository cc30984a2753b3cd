"""OpenAI Chat Completions: recordings of live providers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from api_chat_requests import NotExpressible, as_sent, read_request, without_defaults
from api_golden import ENVIRON, numbered, recordings_of, targets_of

from api_service.providers.openai_chat import ChatCodec
from api_service.settings import ApiSettings
from api_service.target import Targets
from marsys.stream import fold
from marsys.v1 import FinishReason
from serving.errors import ServiceError
from serving.event_writer import EventWriter
from serving.generator import Call
from serving.validation import validate

RECORDINGS = recordings_of("openai_chat")
TARGETS = targets_of("openai_chat")
CUSTOMERS = Targets(ApiSettings(), ENVIRON)
CALL = Call("id", "ipv4:127.0.0.1:1", None, False)


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


@pytest.mark.skipif(not RECORDINGS, reason="the recordings are not here")
def test_requests_are_made_that_providers_take_as_the_same() -> None:
    """Of all recorded requests. Those that can't be expressed are told by name."""
    cannot: dict[str, str] = {}
    for path in RECORDINGS:
        recording = json.loads(path.read_text())
        theirs = as_sent(recording["request"])
        uri = recording["uri"]
        hosts = {"api.openai.com": "openai", "openrouter.ai": "openrouter"}
        provider = next((name for host, name in hosts.items() if host in uri), "custom")
        base_url = uri.removesuffix("/chat/completions") if provider == "custom" else ""
        try:
            request = read_request(provider, recording["request"], base_url)
        except NotExpressible as error:
            cannot[path.stem] = str(error)
            continue
        validate(request)
        target = CUSTOMERS.resolve(request, CALL)
        stream = bool(recording["request"].get("stream"))
        wire = target.codec.encode(request, target.upstream, stream, EventWriter())
        ours = without_defaults(as_sent(json.loads(wire.body)), theirs)
        assert ours == theirs, path.stem
        assert target.base_url + wire.path == uri
    assert len(cannot) <= len(RECORDINGS) * 0.02, cannot
