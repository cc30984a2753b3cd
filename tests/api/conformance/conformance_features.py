"""The features of the conformance matrix: what a fake provider is told, and what must come of it.

A feature's script is data that both fakes understand (see conformance_fakes); its check calls the
service and looks at the answer and at what the fake was sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from api_upstream import Caller, ask
from conformance_fakes import Fake
from conformance_relay import Relay

from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    CountTokensRequest,
    ErrorReason,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    ListModelsRequest,
    StreamGenerateRequest,
)

R = ErrorReason
ANSWER = "The capital of France is Paris, the city of light."
SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parametersJson": SCHEMA,
}
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/"
    "iZk9HQAAAABJRU5ErkJggg=="
)

THINKERS = {
    "openai": "openai/gpt-5",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.5-pro",
    "openrouter": "openrouter/deepseek/deepseek-r1",
    "xai": "xai/grok-3-mini",
    "custom": "deepseek-reasoner",
}
"""Models that reason."""
_EFFORT = {"effort": "REASONING_EFFORT_HIGH"}
_BUDGET = {"budgetTokens": 2048}
THINKS = {name: _BUDGET if name in ("anthropic", "google") else _EFFORT for name in THINKERS}
"""What they are asked for."""


@dataclass
class Cell:
    """One cell: a feature, with one provider, unary or streamed, on one fake.

    Attributes:
        caller: a client of api_service, whose providers are all the fake.
        model: the model that is asked, such as "openai/gpt-4o".
        prompt: the user's words, which no other cell uses.
        stream: whether the call is streamed.
        relay: what stands between the service and the fake.
        fake: what plays the provider.
        target: fields of ProviderTarget, where the address is the caller's.
    """

    caller: Caller
    model: str
    prompt: str
    stream: bool
    relay: Relay
    fake: Fake
    target: dict[str, Any] = field(default_factory=dict)

    @property
    def provider(self) -> str:
        """The provider's name in the matrix."""
        return "custom" if self.target else self.model.partition("/")[0]

    def request(self, **fields: Any) -> GenerateRequest:
        if self.target:
            fields["target"] = self.target
        return ask(self.model, self.prompt, **fields)

    async def answer(self, request: GenerateRequest | None = None) -> GenerateResponse:
        return await self.caller.either(request or self.request(), self.stream)

    async def reason(self, **fields: Any) -> ErrorReason.ValueType:
        error = await self.caller.failure(self.request(**fields), self.stream)
        return error.reason

    def sent(self) -> dict[str, Any]:
        """The last body that the fake was sent."""
        body: dict[str, Any] = self.relay.bodies()[-1]
        return body

    def was_sent(self, *words: str) -> None:
        """The last body that the fake was sent holds some words."""
        body = json.dumps(self.sent())
        for word in words:
            assert word in body, f"{word!r} was not sent"


Check = Callable[[Cell], Awaitable[None]]


@dataclass(frozen=True)
class Feature:
    """A row of the matrix.

    Attributes:
        name: what the matrix calls it.
        check: must hold.
        script: what the fake does.
        modes: how it is called.
        listed: whether the provider must be one that the service knows by name.
    """

    name: str
    check: Check
    script: dict[str, Any] = field(default_factory=dict)
    modes: tuple[str, ...] = ("unary", "streaming")
    listed: bool = False

    @property
    def breaks(self) -> bool:
        """Whether the fake answers with an error, or breaks its answer."""
        return bool(self.script.keys() & {"status", "first_status", "overflow", "fault"})


def text_of(answer: GenerateResponse) -> str:
    return "".join(part.text.text for part in answer.message.parts)


def calls_of(answer: GenerateResponse) -> list[tuple[str, Any]]:
    return [
        (part.tool_call.name, json.loads(part.tool_call.arguments_json))
        for part in answer.message.parts
        if part.HasField("tool_call")
    ]


async def text(cell: Cell) -> None:
    answer = await cell.answer()
    assert text_of(answer) == ANSWER
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert answer.response_id
    assert answer.model


async def usage(cell: Cell) -> None:
    answer = await cell.answer()
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


async def system(cell: Cell) -> None:
    request = cell.request()
    message = {"role": "ROLE_SYSTEM", "parts": [{"text": {"text": "Be brief, 4711."}}]}
    request.messages.insert(0, ask("", **{"messages": [message]}).messages[0])
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent("Be brief, 4711.")


async def turns(cell: Cell) -> None:
    request = cell.request()
    said = [("ROLE_USER", "What is your name?"), ("ROLE_ASSISTANT", "I have none, 4712.")]
    messages = [{"role": role, "parts": [{"text": {"text": words}}]} for role, words in said]
    last = request.messages.pop()
    request.messages.extend([*ask("", messages=messages).messages, last])
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent("What is your name?", "I have none, 4712.")


async def tool_call(cell: Cell) -> None:
    answer = await cell.answer(cell.request(tools=[WEATHER]))
    assert calls_of(answer) == [("get_weather", {"city": "Paris"})]
    assert all(part.tool_call.id for part in answer.message.parts if part.HasField("tool_call"))
    assert answer.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    cell.was_sent("get_weather", "Weather of a city")


async def parallel_tool_calls(cell: Cell) -> None:
    answer = await cell.answer(cell.request(tools=[WEATHER]))
    assert calls_of(answer) == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
    ]
    ids = [part.tool_call.id for part in answer.message.parts if part.HasField("tool_call")]
    assert len(set(ids)) == 2


async def tool_result(cell: Cell) -> None:
    request = cell.request(tools=[WEATHER])
    call = {"id": "call_1", "name": "get_weather", "argumentsJson": '{"city":"Paris"}'}
    result = {"toolCallId": "call_1", "content": [{"text": {"text": "Rain, 4713."}}]}
    messages = [
        {"role": "ROLE_ASSISTANT", "parts": [{"toolCall": call}]},
        {"role": "ROLE_TOOL", "parts": [{"toolResult": result}]},
    ]
    request.messages.extend(ask("", messages=messages).messages)
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent("Rain, 4713.", "get_weather")


async def tool_results(cell: Cell) -> None:
    request = cell.request(tools=[WEATHER])
    cities = ("Paris", "Rome")
    parts = [
        {"toolCall": {"id": city, "name": "get_weather", "argumentsJson": f'{{"city":"{city}"}}'}}
        for city in cities
    ]
    told = [
        {"toolCallId": "Paris", "content": [{"text": {"text": '{"rain": 4715}'}}]},
        {"toolCallId": "Rome", "content": [{"text": {"text": "Nobody, 4716."}}], "isError": True},
    ]
    results = [{"toolResult": result} for result in told]
    messages = [
        {"role": "ROLE_ASSISTANT", "parts": parts},
        {"role": "ROLE_TOOL", "parts": results},
    ]
    request.messages.extend(ask("", messages=messages).messages)
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent("4715", "Nobody, 4716.")


async def tool_choice(cell: Cell) -> None:
    request = cell.request(tools=[WEATHER], toolChoice={"toolName": "get_weather"})
    assert calls_of(await cell.answer(request)) == [("get_weather", {"city": "Paris"})]
    body = cell.sent()
    assert "get_weather" in json.dumps(body.get("tool_choice") or body.get("toolConfig"))


async def tool_choice_modes(cell: Cell) -> None:
    words = {"AUTO": {"auto"}, "NONE": {"none"}, "REQUIRED": {"required", "any"}}
    for mode, said in words.items():
        choice = {"mode": f"TOOL_CHOICE_MODE_{mode}"}
        answer = await cell.answer(cell.request(tools=[WEATHER], toolChoice=choice))
        assert text_of(answer) == ANSWER
        sent = json.dumps(cell.sent().get("tool_choice") or cell.sent().get("toolConfig")).lower()
        assert any(f'"{word}"' in sent for word in said)


async def image(cell: Cell) -> None:
    request = cell.request()
    media = {"media": {"mediaType": "image/png", "data": PNG}}
    parts = ask("", messages=[{"role": "ROLE_USER", "parts": [media]}]).messages[0].parts
    request.messages[0].parts.extend(parts)
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent(PNG)


async def image_address(cell: Cell) -> None:
    request = cell.request()
    media = {"media": {"uri": "https://example.com/4717.png", "mediaType": "image/png"}}
    parts = ask("", messages=[{"role": "ROLE_USER", "parts": [media]}]).messages[0].parts
    request.messages[0].parts.extend(parts)
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent("https://example.com/4717.png")


async def json_mode(cell: Cell) -> None:
    answer = await cell.answer(cell.request(outputFormat={"jsonObject": {}}))
    assert json.loads(text_of(answer)) == {"city": "Paris"}


async def response_schema(cell: Cell) -> None:
    schema = {"jsonSchema": {"schemaJson": SCHEMA}}
    answer = await cell.answer(cell.request(outputFormat=schema))
    assert json.loads(text_of(answer)) == {"city": "Paris"}
    body = cell.sent()
    config = body.get("generationConfig", {})
    form = body.get("response_format") or body.get("text") or body.get("output_config")
    assert '"city"' in json.dumps(form or config.get("responseSchema"))


async def reasoning(cell: Cell) -> None:
    answer = await cell.answer()
    thought = "".join(part.reasoning.text for part in answer.message.parts)
    assert thought == "France, then its capital."
    assert text_of(answer) == ANSWER


async def reasoning_kept(cell: Cell) -> None:
    """The thought before a tool call goes back with the tool's result."""
    request = cell.request(tools=[WEATHER], config={"reasoning": THINKS[cell.provider]})
    request.model = THINKERS[cell.provider]
    answer = await cell.answer(request)
    (call,) = [part.tool_call for part in answer.message.parts if part.HasField("tool_call")]
    assert any(part.HasField("reasoning") for part in answer.message.parts)
    result = {"toolCallId": call.id, "content": [{"text": {"text": "Rain, 4718."}}]}
    request.messages.append(answer.message)
    request.messages.extend(
        ask("", messages=[{"role": "ROLE_TOOL", "parts": [{"toolResult": result}]}]).messages
    )
    assert text_of(await cell.answer(request)) == ANSWER
    cell.was_sent("Rain, 4718.")
    states = [part.opaque_state.data for part in answer.message.parts if part.opaque_state.data]
    if cell.provider == "anthropic":
        assert states
        cell.was_sent(*(state.decode() for state in states))


async def reasoning_asked(cell: Cell) -> None:
    request = cell.request(config={"reasoning": THINKS[cell.provider]})
    request.model = THINKERS[cell.provider]
    assert text_of(await cell.answer(request)) == ANSWER
    body = cell.sent()
    config = body.get("generationConfig", {})
    asked = [body.get(key) for key in ("reasoning", "reasoning_effort", "thinking")]
    assert any([*asked, config.get("thinkingConfig")])


async def length(cell: Cell) -> None:
    answer = await cell.answer()
    assert answer.finish_reason == FinishReason.FINISH_REASON_LENGTH


async def content_filter(cell: Cell) -> None:
    answer = await cell.answer()
    assert answer.finish_reason == FinishReason.FINISH_REASON_CONTENT_FILTER


async def stop(cell: Cell) -> None:
    answer = await cell.answer(cell.request(config={"stopSequences": ["4714"]}))
    assert text_of(answer) == ANSWER
    cell.was_sent("4714")


async def sampling(cell: Cell) -> None:
    answer = await cell.answer(cell.request(config={"temperature": 0.125, "maxTokens": 471}))
    assert text_of(answer) == ANSWER
    cell.was_sent("0.125", "471")


async def unauthorized(cell: Cell) -> None:
    assert await cell.reason() == R.ERROR_REASON_AUTHENTICATION_FAILED


async def not_found(cell: Cell) -> None:
    assert await cell.reason() == R.ERROR_REASON_INVALID_MODEL


async def bad_request(cell: Cell) -> None:
    assert await cell.reason() == R.ERROR_REASON_INVALID_REQUEST


async def context_overflow(cell: Cell) -> None:
    assert await cell.reason() == R.ERROR_REASON_TOKEN_LIMIT


async def rate_limit(cell: Cell) -> None:
    answer = await cell.answer()
    assert [attempt.http_status for attempt in answer.attempts] == [429]
    assert answer.attempts[0].delay.ToMilliseconds() >= 200
    assert text_of(answer) == ANSWER


async def server_error(cell: Cell) -> None:
    answer = await cell.answer()
    assert [attempt.http_status for attempt in answer.attempts] == [500]
    assert text_of(answer) == ANSWER


async def unavailable(cell: Cell) -> None:
    assert await cell.reason() == R.ERROR_REASON_SERVICE_UNAVAILABLE
    assert len(cell.relay.bodies()) == 4


async def broken_stream(cell: Cell) -> None:
    """An error comes of it, and what the caller has seen a part of isn't asked again."""
    call = cell.caller.inference.StreamGenerate(
        StreamGenerateRequest(request=cell.request()), timeout=30
    )
    told = False
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            told |= any(event.HasField("part_delta") for event in response.events)
    assert from_rpc_error(caught.value).reason in (
        R.ERROR_REASON_NETWORK_ERROR,
        R.ERROR_REASON_MALFORMED_RESPONSE,
    )
    if told:
        assert len(cell.relay.bodies()) == 1
    if cell.fake.breaks_once:
        await asyncio.to_thread(cell.fake.settle)
        assert text_of(await cell.answer()) == ANSWER


async def stalled_stream(cell: Cell) -> None:
    policy = {"idleTimeout": "0.2s", "maxAttempts": 1}
    assert await cell.reason(policy=policy) == R.ERROR_REASON_TIMEOUT
    await asyncio.wait_for(cell.relay.left.wait(), 10)


async def cancellation(cell: Cell) -> None:
    """Where the caller leaves in the middle of an answer, the service leaves the provider."""
    request = StreamGenerateRequest(request=cell.request())
    call = cell.caller.inference.StreamGenerate(request, timeout=30)
    async for response in call:
        if any(event.HasField("part_delta") for event in response.events):
            break
    assert not cell.relay.left.is_set()
    assert call.cancel()
    await asyncio.wait_for(cell.relay.left.wait(), 10)


async def models(cell: Cell) -> None:
    provider = cell.provider
    page = await cell.caller.models.ListModels(ListModelsRequest(provider=provider))
    assert page.models
    assert all(model.name.startswith(f"{provider}/") for model in page.models)


async def count_tokens(cell: Cell) -> None:
    count = await cell.caller.inference.CountTokens(CountTokensRequest(request=cell.request()))
    assert count.input_tokens > 0


TOOL = {"tools": [("get_weather", {"city": "Paris"})]}
TOOLS = {"tools": [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]}
SAYS = {"text": ANSWER}
THOUGHT = {"reasoning": "France, then its capital."}
UNARY, STREAMING = ("unary",), ("streaming",)

FEATURES = (
    Feature("text", text, SAYS),
    Feature("usage", usage, SAYS | {"usage": True}),
    Feature("system prompt", system, SAYS),
    Feature("several turns", turns, SAYS),
    Feature("sampling parameters", sampling, SAYS),
    Feature("stop strings", stop, SAYS),
    Feature("tool call", tool_call, TOOL),
    Feature("parallel tool calls", parallel_tool_calls, TOOLS),
    Feature("tool choice: auto, none, required", tool_choice_modes, SAYS),
    Feature("tool choice: one function", tool_choice, TOOL),
    Feature("tool result", tool_result, SAYS),
    Feature("two tool results, one an error", tool_results, SAYS),
    Feature("image as bytes", image, SAYS),
    Feature("image by its address", image_address, SAYS),
    Feature("JSON mode", json_mode, {"text": '{"city": "Paris"}'}),
    Feature("response schema", response_schema, {"text": '{"city": "Paris"}'}),
    Feature("reasoning text", reasoning, SAYS | THOUGHT),
    Feature("reasoning effort or budget", reasoning_asked, SAYS),
    Feature(
        "reasoning goes back with a tool result", reasoning_kept, TOOL | THOUGHT | {"then": ANSWER}
    ),
    Feature("finish: length", length, SAYS | {"finish": "length"}),
    Feature("finish: content filter", content_filter, SAYS | {"finish": "content_filter"}),
    Feature("401", unauthorized, {"status": 401}),
    Feature("404", not_found, {"status": 404}),
    Feature("400", bad_request, {"status": 400}),
    Feature("context overflow", context_overflow, {"overflow": True}),
    Feature("429, Retry-After, then an answer", rate_limit, SAYS | {"first_status": 429}),
    Feature("500, then an answer", server_error, SAYS | {"first_status": 500}),
    Feature("503, four attempts", unavailable, {"status": 503}),
    Feature("529, four attempts", unavailable, {"status": 529}),
    Feature(
        "connection lost amid the stream", broken_stream, SAYS | {"fault": "disconnect"}, STREAMING
    ),
    Feature("stream ends early", broken_stream, SAYS | {"fault": "truncate"}, STREAMING),
    Feature("chunk that is no JSON", broken_stream, SAYS | {"fault": "corrupt"}, STREAMING),
    Feature("stream stalls", stalled_stream, SAYS | {"fault": "stall"}, STREAMING),
    Feature("cancellation", cancellation, SAYS | {"fault": "stall"}, STREAMING),
    Feature("model list", models, {}, UNARY, listed=True),
    Feature("token count", count_tokens, {}, UNARY),
)
"""The rows of the matrix, in order."""
