"""What every backend does alike, for text models and vision-language models, both ways."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from requests_of import ask, picture, text_of
from subjects import Failed, Subject

from marsys.stream import fold
from marsys.v1 import ErrorReason, FinishReason, StreamEvent

STORY = "Tell me a long story about a lighthouse keeper and the sea."


def story(subject: Subject, number: int = 0, **config: Any) -> Any:
    """A request with a long answer; with a picture where the model sees."""
    texts: list[Any] = [f"{STORY} It is part {number}."]
    if "image" in subject.adapter.input_modalities:
        texts.insert(0, picture(("red", "green", "blue")[number % 3]))
    return ask(subject.name, *texts, **{"max_tokens": 24} | config)


async def read(subject: Subject, request: Any) -> list[StreamEvent]:
    return [event async for event in subject.stream(request)]


async def test_streamed_and_whole_answers_are_the_same(subject: Subject) -> None:
    whole = await subject.ask(story(subject))
    events = await read(subject, story(subject))
    streamed = fold(events)
    assert text_of(whole) == text_of(streamed) != ""
    assert whole.finish_reason == streamed.finish_reason == FinishReason.FINISH_REASON_LENGTH
    deltas = [event for event in events if event.HasField("part_delta")]
    assert len(deltas) > 3, "it comes in pieces"
    assert whole.provider == subject.adapter.backend
    assert whole.model == subject.name


async def test_many_at_once_get_what_each_gets_alone(subject: Subject) -> None:
    alone = [text_of(await subject.ask(story(subject, n))) for n in range(6)]
    together = await asyncio.gather(*(subject.ask(story(subject, n)) for n in range(6)))
    assert [text_of(response) for response in together] == alone
    assert len(set(alone)) > 1


async def test_usage_and_counts(subject: Subject) -> None:
    request = story(subject, 7)
    counted = await subject.count(request)
    response = await subject.ask(request)
    usage = response.usage
    assert usage.input_tokens == counted > 10
    assert usage.output_tokens == 24
    assert usage.total_tokens == counted + 24


@pytest.mark.model_class("llm")
async def test_what_was_read_before_is_told(subject: Subject) -> None:
    request = ask(subject.name, f"{STORY} " * 8 + subject.way, max_tokens=2)
    await subject.ask(request)
    usage = (await subject.ask(request)).usage
    assert 0 < usage.cache_read_tokens < usage.input_tokens


async def test_a_seed_repeats_an_answer(subject: Subject) -> None:
    def sampled(seed: int) -> Any:
        return story(subject, temperature=1.2, top_p=0.95, seed=seed)

    first, again, other = [
        text_of(response)
        for response in await asyncio.gather(*(subject.ask(sampled(n)) for n in (5, 5, 6)))
    ]
    assert first == again != other


@pytest.mark.model_class("llm")
async def test_a_stop_string_ends_the_text(subject: Subject) -> None:
    request = ask(subject.name, "What is the capital of France?", stop_sequences=["zzz", " Par"])
    response = await subject.ask(request)
    assert text_of(response) == "The capital of France is"
    assert response.finish_reason == FinishReason.FINISH_REASON_STOP
    assert response.stop_sequence == " Par"


@pytest.mark.model_class("llm")
async def test_the_end_of_the_text(subject: Subject) -> None:
    response = await subject.ask(ask(subject.name, "What is the capital of France?"))
    assert text_of(response) == "The capital of France is Paris."
    assert response.finish_reason == FinishReason.FINISH_REASON_STOP
    assert response.raw_finish_reason == "eos"


async def test_a_cancelled_request_leaves_and_the_others_notice_nothing(subject: Subject) -> None:
    alone = [text_of(await subject.ask(story(subject, n, max_tokens=40))) for n in range(3)]
    leaving = [
        asyncio.create_task(read(subject, story(subject, n, max_tokens=400))) for n in range(3, 6)
    ]
    staying = [asyncio.create_task(subject.ask(story(subject, n, max_tokens=40))) for n in range(3)]
    while subject.adapter.jobs < 6 and not any(task.done() for task in staying):
        await asyncio.sleep(0.005)
    for task in leaving:
        task.cancel()
    assert [text_of(response) for response in await asyncio.gather(*staying)] == alone
    for _ in range(1000):
        if not subject.adapter.jobs:
            break
        await asyncio.sleep(0.01)
    assert subject.adapter.jobs == 0
    assert all(isinstance(end, BaseException) for end in await settled(leaving))


async def settled(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_prompt_over_the_context_is_refused(subject: Subject) -> None:
    limit = subject.adapter.context_length
    with pytest.raises(Failed) as failed:
        await subject.ask(ask(subject.name, "sea " * (limit + 10)))
    assert failed.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.error.reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT
    assert failed.value.error.token_limit == limit
    assert failed.value.error.token_count > limit
    assert failed.value.error.field == "messages"


async def test_a_full_queue_refuses_with_a_time_to_wait(subject: Subject) -> None:
    most = 8 + 24
    tasks = [
        asyncio.create_task(read(subject, story(subject, n, max_tokens=200))) for n in range(most)
    ]
    try:
        while subject.adapter.jobs < most:
            await asyncio.sleep(0.005)
        with pytest.raises(Failed) as failed:
            await subject.ask(story(subject))
    finally:
        for task in tasks:
            task.cancel()
        await settled(tasks)
    assert failed.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.value.error.reason == ErrorReason.ERROR_REASON_OVERLOADED
    assert failed.value.error.retry_after.ToMilliseconds() > 0
    assert text_of(await subject.ask(story(subject, max_tokens=2))) != ""


async def test_what_the_model_does_not_take_is_refused_by_name(subject: Subject) -> None:
    request = story(subject)
    request.config.reasoning.budget_tokens = 10
    with pytest.raises(Failed) as failed:
        await subject.ask(request)
    assert failed.value.error.field == "config.reasoning.budget_tokens"


@pytest.mark.model_class("llm")
async def test_a_text_model_refuses_an_image_by_name(subject: Subject) -> None:
    with pytest.raises(Failed) as failed:
        await subject.ask(ask(subject.name, "What is this?", picture("red")))
    assert failed.value.error.field == "messages[0].parts[1].media"


@pytest.mark.model_class("vlm")
async def test_pictures_are_seen_in_their_order(subject: Subject) -> None:
    def two(first: str, second: str) -> Any:
        parts = ["First:", picture(first), "and then:", picture(second), "Which?"]
        return ask(subject.name, *parts, max_tokens=12)

    one, other, again = [
        text_of(await subject.ask(two(*pair)))
        for pair in (("red", "blue"), ("blue", "red"), ("red", "blue"))
    ]
    assert one == again != other


@pytest.mark.model_class("vlm")
async def test_a_picture_counts(subject: Subject) -> None:
    without = await subject.count(ask(subject.name, "What is this?"))
    with_one = await subject.count(ask(subject.name, "What is this?", picture("red")))
    with_two = await subject.count(
        ask(subject.name, "What is this?", picture("red"), picture("red"))
    )
    assert without < with_one < with_two
    assert with_two - with_one == with_one - without


@pytest.mark.model_class("vlm")
async def test_what_is_no_picture_is_refused_by_name(subject: Subject) -> None:
    with pytest.raises(Failed) as failed:
        await subject.ask(ask(subject.name, "What is this?", b"\x89PNG\r\n\x1a\nnothing"))
    assert failed.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.error.field.startswith("messages[0].parts[1].media")


@pytest.mark.way("in process")
async def test_the_python_api(subject: Subject) -> None:
    content: list[dict[str, Any]] = [{"type": "text", "text": STORY}]
    response = await subject.adapter.arun(
        [{"role": "user", "content": content}], max_tokens=5, temperature=0
    )
    assert response["role"] == "assistant"
    assert response["content"]
    assert response.usage["completion_tokens"] == 5
    assert subject.adapter.supports_training == (subject.adapter.backend == "huggingface")
    assert (subject.adapter.model is None) == (subject.adapter.backend == "vllm")
    assert subject.adapter.tokenizer is not None


@pytest.mark.way("in process")
def test_the_python_api_without_an_event_loop(subject: Subject) -> None:
    response = subject.adapter.run(STORY, max_tokens=3, temperature=0)
    assert response.usage["completion_tokens"] == 3
