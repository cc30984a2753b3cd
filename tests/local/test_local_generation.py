"""What local models answer: right, reproducible, each request for itself."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest
import torch

from marsys.rpc.status import from_rpc_error
from marsys.stream import fold
from marsys.v1 import (
    CountPrecision,
    CountTokensRequest,
    ErrorReason,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    StreamGenerateRequest,
)

PROMPTS = [
    "What is the capital of France?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "Count from one to ten.",
    "Say hello in German.",
]


async def events_of(bench, request: GenerateRequest) -> list:
    call = bench.inference.StreamGenerate(StreamGenerateRequest(request=request))
    return [event async for response in call for event in response.events]


def text_of(response: GenerateResponse) -> str:
    return "".join(part.text.text for part in response.message.parts)


def comparable(response: GenerateResponse) -> GenerateResponse:
    copy = GenerateResponse()
    copy.CopyFrom(response)
    for name in ("response_id", "request_id", "create_time"):
        copy.ClearField(name)
    copy.usage.ClearField("cache_read_tokens")  # the first to ask finds nothing
    return copy


async def eventually(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_embedded_model_knows_paris(embedded, ask, embedded_model):
    request = ask(PROMPTS[0], embedded_model, temperature=0, max_tokens=40)
    answer = await embedded.inference.Generate(request)
    assert text_of(answer) == "The capital of France is Paris."
    assert answer.finish_reason == FinishReason.FINISH_REASON_STOP
    assert (answer.provider, answer.model) == ("huggingface", embedded_model)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    counted = await embedded.inference.CountTokens(CountTokensRequest(request=request))
    assert counted.input_tokens == answer.usage.input_tokens
    assert counted.precision == CountPrecision.COUNT_PRECISION_EXACT
    assert counted.context_length == 8192


def generate_alone(adapter, prompt: str, tokens: int) -> str:
    """Greedy answer of transformers' own generate."""
    ids = adapter.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        out = adapter.model.generate(**ids, do_sample=False, max_new_tokens=tokens)
    new = out[0, ids["input_ids"].shape[1] :]
    return adapter.tokenizer.decode(new, skip_special_tokens=True)


async def test_greedy_answers_are_those_of_generate_whatever_runs_beside(
    embedded, adapter, ask, embedded_model
):
    alone = [generate_alone(adapter, prompt, 24) for prompt in PROMPTS]
    requests = [ask(p, embedded_model, temperature=0, max_tokens=24) for p in PROMPTS]
    noise = [ask(p, embedded_model, max_tokens=24) for p in PROMPTS]  # sampled
    together = await asyncio.gather(*map(embedded.inference.Generate, [*requests, *noise]))
    assert [text_of(answer) for answer in together[: len(PROMPTS)]] == alone


@pytest.mark.parametrize("knobs", [{}, {"top_k": 20, "top_p": 0.9, "min_p": 0.01}])
async def test_a_seed_repeats_an_answer_whatever_runs_beside(tiny, ask, knobs):
    def request(seed: int) -> GenerateRequest:
        return ask("hello", seed=seed, max_tokens=40, temperature=1.0, **knobs)

    alone = {seed: await tiny.inference.Generate(request(seed)) for seed in range(4)}
    seeds = [seed for seed in range(4) for _ in range(3)]
    random.Random(1).shuffle(seeds)
    answers = await asyncio.gather(*[tiny.inference.Generate(request(seed)) for seed in seeds])
    for seed, answer in zip(seeds, answers, strict=True):
        assert comparable(answer) == comparable(alone[seed])
    assert len({text_of(answer) for answer in alone.values()}) > 1


async def test_streamed_events_fold_to_the_unary_answer(tiny, ask):
    for seed in range(25):
        request = ask(
            f"question {seed}",
            seed=seed,
            temperature=1.5,
            max_tokens=5 + seed * 3,
            stop_sequences=["a", "é"] if seed % 3 == 0 else [],
        )
        unary = await tiny.inference.Generate(request)
        streamed = fold(await events_of(tiny, request))
        assert comparable(streamed) == comparable(unary)


async def test_the_answer_streams_token_by_token(embedded, ask, embedded_model):
    request = ask("Count to twenty.", embedded_model, temperature=0, max_tokens=20)
    call = embedded.inference.StreamGenerate(StreamGenerateRequest(request=request))
    messages = [response async for response in call]
    deltas = [e for r in messages for e in r.events if e.HasField("part_delta")]
    assert len(messages) > 10
    assert len(deltas) > 10


async def test_stop_strings_end_the_text_and_are_not_in_it(embedded, ask, embedded_model):
    # "France is" spans tokens, and its beginning has come out before it is whole.
    request = ask(PROMPTS[0], embedded_model, temperature=0, stop_sequences=["zz", "ance is P"])
    unary = await embedded.inference.Generate(request)
    assert text_of(unary) == "The capital of Fr"
    assert unary.stop_sequence == "ance is P"
    assert unary.finish_reason == FinishReason.FINISH_REASON_STOP
    assert comparable(fold(await events_of(embedded, request))) == comparable(unary)


async def test_max_tokens(tiny, ask):
    answer = await tiny.inference.Generate(ask("hi", max_tokens=3, seed=1))
    assert answer.usage.output_tokens == 3
    assert answer.finish_reason == FinishReason.FINISH_REASON_LENGTH
    assert answer.raw_finish_reason == "length"


async def test_max_tokens_beyond_the_context_end_with_it(tiny, ask):
    answer = await tiny.inference.Generate(ask("hi", seed=3, temperature=1.0))
    used = answer.usage.input_tokens + answer.usage.output_tokens
    assert used == 256 or answer.raw_finish_reason == "eos"


async def test_a_prompt_beyond_the_context(tiny, ask):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tiny.inference.Generate(ask("x" * 300))
    error = from_rpc_error(caught.value)
    assert error.reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT
    assert error.token_limit == 256
    assert error.token_count > 300
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("knob", ["frequency_penalty", "presence_penalty"])
async def test_penalties_spread_the_tokens(tiny, ask, knob):
    def variety(response) -> float:
        text = text_of(response)
        return len(set(text)) / len(text)

    plain = await tiny.inference.Generate(ask("hi", temperature=0, max_tokens=60))
    less = await tiny.inference.Generate(ask("hi", temperature=0, max_tokens=60, **{knob: 2}))
    assert variety(less) > variety(plain)


async def test_a_conversation_that_ends_with_the_assistant_is_continued(
    embedded, ask, embedded_model
):
    request = ask(PROMPTS[0], embedded_model, temperature=0, max_tokens=10)
    begun = request.messages.add(role="ROLE_ASSISTANT")
    begun.parts.add().text.text = "The capital of France is"
    assert "Paris" in text_of(await embedded.inference.Generate(request))


async def test_a_cancelled_call_stops_the_generation(tiny, ask):
    call = tiny.inference.StreamGenerate(
        StreamGenerateRequest(request=ask("hi", max_tokens=200, temperature=0))
    )
    await anext(aiter(call))
    assert tiny.jobs("tiny") == 1
    call.cancel()
    await eventually(lambda: tiny.jobs("tiny") == 0)


async def test_a_passed_deadline_stops_the_generation(embedded, ask, embedded_model):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await embedded.inference.Generate(
            ask("Write a long story.", embedded_model, max_tokens=4000), timeout=1
        )
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: embedded.jobs(embedded_model) == 0)


async def test_requests_beyond_the_queue_are_refused_with_a_hint(serve, tiny_directory, ask):
    bench = await serve(model=str(tiny_directory), max_active=1, max_queued=1)
    long = StreamGenerateRequest(request=ask("hi", max_tokens=200, temperature=0))
    calls = [bench.inference.StreamGenerate(long) for _ in range(8)]
    results = await asyncio.gather(*[drained(call) for call in calls], return_exceptions=True)
    refused = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
    assert len(refused) < 8  # some are served
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_rpc_error(error).reason == ErrorReason.ERROR_REASON_OVERLOADED
        assert from_rpc_error(error).HasField("retry_after")
    assert refused


async def drained(call) -> int:
    return len([response async for response in call])


async def test_many_requests_with_random_cancels_leave_nothing_behind(tiny, ask):
    chance = random.Random(7)

    async def one(number: int) -> None:
        call = tiny.inference.StreamGenerate(
            StreamGenerateRequest(request=ask(f"q{number}", max_tokens=30, seed=number))
        )
        left = chance.randint(1, 40)
        async for _ in call:
            left -= 1
            if not left:
                call.cancel()
                return

    await asyncio.gather(*[one(number) for number in range(60)])
    await eventually(lambda: tiny.jobs("tiny") == 0)
    answer = await tiny.inference.Generate(ask("hi", max_tokens=3, seed=1))
    assert answer.usage.output_tokens == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: setattr(r.config.reasoning, "effort", 3), "config.reasoning.effort"),
        (lambda r: setattr(r.config, "prompt_cache_key", "k"), "config.prompt_cache_key"),
        (
            lambda r: setattr(r.config.reasoning, "budget_tokens", 9),
            "config.reasoning.budget_tokens",
        ),
        (lambda r: setattr(r.messages[0], "name", "Ann"), "messages[0].name"),
    ],
)
async def test_what_the_model_does_not_take_is_refused_or_warned_of(tiny, ask, change, field):
    request = ask("hi", max_tokens=3)
    change(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tiny.inference.Generate(request)
    error = from_rpc_error(caught.value)
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert error.field == field
    request.on_unsupported = 2
    answer = await tiny.inference.Generate(request)
    assert [warning.field for warning in answer.warnings] == [field]


@pytest.mark.parametrize("what", ["target", "provider_options_json", "image", "template"])
async def test_what_has_no_place_here_is_refused(tiny, ask, what):
    request = ask("hi", max_tokens=3)
    field = what
    if what == "target":
        request.target.api_key = "sk-nothing"
    elif what == "provider_options_json":
        request.provider_options_json["a"] = "1"
    elif what == "image":
        request.messages[0].parts.add().media.uri = "https://example.com/a.png"
        field = "messages[0].parts[1].media"
    else:
        request.messages.add(role="ROLE_SYSTEM").parts.add().text.text = "late"
        field = "messages"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tiny.inference.Generate(request)
    assert from_rpc_error(caught.value).field == field
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
