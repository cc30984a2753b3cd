"""api_service over a real socket: what goes up, what comes down."""

from __future__ import annotations

import grpc
import pytest
from api_upstream import DONE, Caller, Upstream, ask, completion, delta, reply, sse

from marsys.stream import fold
from marsys.v1 import (
    CountPrecision,
    CountTokensRequest,
    ErrorReason,
    FinishReason,
    StreamGenerateRequest,
)


async def test_unary_answer_is_harmonized(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(200, completion("Paris.")))
    answer = await caller.generate(ask("xai/grok-2"))
    assert answer.message.parts[0].text.text == "Paris."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 2)
    assert (answer.provider, answer.model, answer.response_id) == (
        "xai",
        "some-model",
        "chatcmpl-1",
    )
    assert answer.create_time.seconds == 1700000000
    assert answer.request_id


async def test_request_goes_up_as_the_wire_wants_it(caller: Caller, upstream: Upstream) -> None:
    upstream.script(reply(200, completion()))
    await caller.generate(ask("openai/gpt-4o", config={"temperature": 0.0, "stopSequences": ["x"]}))
    seen = upstream.seen[0]
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.headers["Authorization"] == "Bearer sk-operator-canary-0001"
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["User-Agent"] == "marsys-models"
    assert seen.body == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.0,
        "stop": ["x"],
        "max_completion_tokens": 8192,
    }


async def test_stream_comes_as_it_is_written(caller: Caller, upstream: Upstream) -> None:
    upstream.script(sse(delta("Pa"), then="hang"))
    call = caller.inference.StreamGenerate(StreamGenerateRequest(request=ask()), timeout=30)
    events = list((await call.read()).events)
    assert [event.WhichOneof("event") for event in events] == [
        "started",
        "part_started",
        "part_delta",
    ]
    call.cancel()


async def test_stream_folds_to_the_unary_answer(caller: Caller, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    last = {**delta(), "choices": [], "usage": usage}
    upstream.script(
        sse(delta("Par", role="assistant"), delta("is."), delta(finish="stop"), last, DONE)
    )
    streamed = fold(await caller.stream(ask()))
    upstream.script(reply(200, completion("Paris.")))
    whole = await caller.generate(ask())
    for answer in (streamed, whole):
        answer.request_id = ""
    assert streamed == whole


async def test_json_answer_to_a_streaming_request_is_taken(
    caller: Caller, upstream: Upstream
) -> None:
    upstream.script(reply(200, completion("whole")))
    answer = fold(await caller.stream(ask()))
    assert answer.message.parts[0].text.text == "whole"


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls(caller: Caller, upstream: Upstream, stream: bool) -> None:
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    calls = [{"id": "c1", "type": "function", "function": function}]
    whole = completion()
    whole["choices"][0] |= {
        "message": {"role": "assistant", "content": None, "tool_calls": calls},
        "finish_reason": "tool_calls",
    }
    head = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather"}}
    tail = [{"index": 0, "function": {"arguments": text}} for text in ('{"city":', '"Paris"}')]
    upstream.script(
        sse(
            delta(tool_calls=[head | {"function": {"name": "weather", "arguments": ""}}]),
            *(delta(tool_calls=[fragment]) for fragment in tail),
            delta(finish="tool_calls"),
            DONE,
        )
        if stream
        else reply(200, whole)
    )
    answer = await caller.either(ask(), stream)
    call = answer.message.parts[0].tool_call
    assert (call.id, call.name, call.arguments_json) == ("c1", "weather", '{"city":"Paris"}')
    assert answer.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no credits left", "code": 402}},
        {"choices": [{"error": {"message": "no credits left", "code": 402}}]},
    ],
)
async def test_error_in_the_body_of_a_200(
    caller: Caller, upstream: Upstream, stream: bool, body: dict[str, object]
) -> None:
    upstream.script(sse(body) if stream else reply(200, body))
    error = await caller.failure(ask(), stream)
    assert error.reason == ErrorReason.ERROR_REASON_INSUFFICIENT_CREDITS
    assert error.http_status == 402
    assert "no credits left" in error.message
    assert "https://openrouter.ai/credits" in error.suggested_action
    assert len(upstream.seen) == 1


async def test_error_in_the_middle_of_a_stream(caller: Caller, upstream: Upstream) -> None:
    upstream.script(sse(delta("half"), {"error": {"message": "boom", "code": 502}}))
    call = caller.inference.StreamGenerate(StreamGenerateRequest(request=ask()), timeout=30)
    texts: list[str] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            texts += [event.part_delta.text for event in response.events]
    assert "half" in texts
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert len(upstream.seen) == 1, "an attempt that gave content is not repeated"


@pytest.mark.parametrize("chunks", [(delta("half"),), (delta("half"), b'data: {"cho\n\n')])
async def test_truncated_or_garbled_stream_is_an_error(
    caller: Caller, upstream: Upstream, chunks: tuple[object, ...]
) -> None:
    upstream.script(sse(*chunks))
    error = await caller.failure(ask(), stream=True)
    assert error.reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE


async def test_tokens_are_estimated(caller: Caller) -> None:
    request = CountTokensRequest(request=ask(text="x" * 400))
    count = await caller.inference.CountTokens(request)
    assert count.input_tokens == 400 // 4 + 4 + 3
    assert count.precision == CountPrecision.COUNT_PRECISION_ESTIMATED


async def test_connections_are_reused(caller: Caller, upstream: Upstream) -> None:
    peers: set[object] = set()

    async def answer(request: object) -> object:
        peers.add(request.transport.get_extra_info("peername"))  # type: ignore[attr-defined]
        return await sse(delta("x"), delta(finish="stop"), DONE)(request)  # type: ignore[arg-type]

    upstream.script(answer)  # type: ignore[arg-type]
    for _ in range(5):
        await caller.stream(ask())
    assert len(peers) == 1
