"""The client gets real answers through both services, whole and streamed."""

from __future__ import annotations

import asyncio

import pytest

from marsys.agents.exceptions import ModelTimeoutError
from marsys.models import BaseAPIModel, BaseLocalModel

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
# Some ten seconds: `transformers serve` goes on with what its caller has left.
TOKENS = 120
LONG = [{"role": "user", "content": "Write a very long story about a ship."}]


@pytest.fixture(params=["local", "transformers serve"])
def model(request, embedded_model):
    """The embedded model: on our local service, and through api_service on another's server."""
    if request.param == "local":
        service = request.getfixturevalue("local_service")
        with BaseLocalModel(
            embedded_model, target=service.address, max_tokens=40, temperature=0.0
        ) as model:
            yield model
        return
    service = request.getfixturevalue("api_service")
    base_url = request.getfixturevalue("upstream")
    directory = request.getfixturevalue("embedded_directory")
    with BaseAPIModel(
        model_name=str(directory),
        base_url=base_url,
        target=service.address,
        max_tokens=40,
        temperature=0.0,
    ) as model:
        yield model


def test_an_answer(model):
    response = model.run(QUESTION)
    assert "Paris" in response["content"]
    assert response["role"] == "assistant"
    assert response["finish_reason"] == "stop"
    usage = response["usage"]
    assert usage["prompt_tokens"] > 5
    assert usage["completion_tokens"] > 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_streamed_answer_comes_in_pieces_and_is_the_same(model):
    chunks = list(model.stream(QUESTION))
    text = "".join(chunk["content"] for chunk in chunks)
    assert "Paris" in text
    assert sum(bool(chunk["content"]) for chunk in chunks) > 2
    assert chunks[-1]["type"] == "done"
    assert chunks[-1]["response"]["content"] == text
    assert text == model.run(QUESTION)["content"]


async def test_the_asynchronous_forms(model):
    answers = await asyncio.gather(model.arun(QUESTION), model.run(QUESTION))
    text = "".join([chunk["content"] async for chunk in model.stream(QUESTION)])
    assert {answer["content"] for answer in answers} == {text}


async def test_a_stream_can_be_left_and_the_model_answers_on(model):
    async for chunk in model.stream(LONG, max_tokens=TOKENS):
        if chunk["content"]:
            break
    assert "Paris" in (await model.arun(QUESTION))["content"]


async def test_a_cancelled_call_ends_at_once(model):
    task = asyncio.create_task(model.arun(LONG, max_tokens=TOKENS))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "Paris" in (await model.arun(QUESTION))["content"]


def test_a_deadline(model):
    with pytest.raises(ModelTimeoutError):
        model.run(LONG, max_tokens=TOKENS, timeout=1.0)
    assert "Paris" in model.run(QUESTION)["content"]


def test_max_tokens(model):
    response = model.run(LONG, max_tokens=5)
    assert response["finish_reason"] == "length"
    assert response["usage"]["completion_tokens"] == 5
