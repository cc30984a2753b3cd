"""openai answers over Responses, or over Chat Completions where only that takes what was set."""

from __future__ import annotations

from typing import Any

import pytest
from api_upstream import Caller, Upstream, ask, completion, reply
from google.protobuf.json_format import ParseDict

from api_service.providers.route import route
from api_service.providers.table import OPENAI, OPENROUTER
from marsys.v1 import ErrorReason, GenerateRequest
from serving.errors import ServiceError

AUDIO = {"media": {"mediaType": "audio/wav", "data": "AAAA"}}
IMAGE = {"media": {"mediaType": "image/png", "data": "AAAA"}}


def user(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "ROLE_USER", "parts": list(parts), **fields}]}


@pytest.mark.parametrize(
    ("model", "fields", "wire"),
    [
        ("gpt-4o", {}, "openai_responses"),
        ("gpt-4o", {"config": {"temperature": 1, "topP": 0.5}}, "openai_responses"),
        ("gpt-4o", {"config": {"seed": 7}}, "openai_chat"),
        ("gpt-4o", {"config": {"stopSequences": ["."]}}, "openai_chat"),
        ("gpt-4o", {"config": {"frequencyPenalty": 0.5}}, "openai_chat"),
        ("gpt-4o", {"config": {"frequencyPenalty": 0}}, "openai_responses"),
        # Neither takes these: the error names them.
        ("gpt-5", {"config": {"stopSequences": ["."]}}, "openai_responses"),
        ("gpt-4o", {"config": {"topK": 5}}, "openai_responses"),
        ("gpt-4o", user(IMAGE), "openai_responses"),
        ("gpt-4o", user(AUDIO), "openai_chat"),
        ("gpt-4o", user({"text": {"text": "Hi"}}, name="Ada"), "openai_chat"),
        ("gpt-4o", {"providerOptionsJson": {"logit_bias": "{}"}}, "openai_chat"),
        ("gpt-4o", {"providerOptionsJson": {"user": '"u"'}}, "openai_responses"),
        ("gpt-4o", {"providerOptionsJson": {"api": '"chat_completions"'}}, "openai_chat"),
        (
            "gpt-4o",
            {"config": {"seed": 7}, "providerOptionsJson": {"api": '"responses"'}},
            "openai_responses",
        ),
    ],
)
def test_route(model: str, fields: dict[str, Any], wire: str) -> None:
    message = {"role": "ROLE_USER", "parts": [{"text": {"text": "Hi"}}]}
    request = ParseDict({"model": model, "messages": [message], **fields}, GenerateRequest())
    assert route(OPENAI, model, request).wire == wire


def test_a_provider_with_one_protocol_stays_with_it() -> None:
    request = ask("openrouter/x", providerOptionsJson={"api": '"responses"'})
    assert route(OPENROUTER, "x", request) is OPENROUTER


async def test_the_operators_address_and_key_hold_for_both(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(reply(200, completion()))
    await caller.generate(ask("openai/gpt-4o", config={"seed": 7}))
    response = {
        "id": "resp_1",
        "status": "completed",
        "output": [
            {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Paris."}]}
        ],
    }
    upstream.script(reply(200, response))
    await caller.generate(ask("openai/gpt-4o"))
    assert [seen.path for seen in upstream.seen] == ["/v1/chat/completions", "/v1/responses"]
    keys = {seen.headers["Authorization"] for seen in upstream.seen}
    assert keys == {"Bearer sk-operator-canary-0001"}


async def test_a_custom_endpoint_may_speak_responses(caller: Caller, upstream: Upstream) -> None:
    output = [{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hi"}]}]
    upstream.script(reply(200, {"id": "r", "status": "completed", "output": output}))
    options = {"api": '"responses"'}
    target = {"baseUrl": upstream.url}
    await caller.generate(ask("some-model", target=target, providerOptionsJson=options))
    assert upstream.seen[0].path == "/v1/responses"
    assert "api" not in upstream.seen[0].body


def test_an_unknown_protocol_is_an_error() -> None:
    request = ask("openai/x", providerOptionsJson={"api": '"soap"'})
    with pytest.raises(ServiceError) as caught:
        route(OPENAI, "x", request)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST
    assert caught.value.error.field == 'provider_options_json["api"]'
