"""A conversation that each service holds, with real models, and with functions as tools."""

from __future__ import annotations

import json

import pytest
from llmock.scenarios import Reply, ToolCall

from marsys.models import BaseAPIModel, BaseLocalModel

LONG = "Write a very long story about a ship."


@pytest.fixture(params=["local", "transformers serve"])
def model(request, embedded_model):
    if request.param == "local":
        service = request.getfixturevalue("local_service")
        return BaseLocalModel(embedded_model, target=service.address, temperature=0.0)
    service = request.getfixturevalue("api_service")
    base_url = request.getfixturevalue("upstream")
    directory = request.getfixturevalue("embedded_directory")
    return BaseAPIModel(
        model_name=str(directory), base_url=base_url, target=service.address, temperature=0.0
    )


async def test_the_service_remembers_and_can_be_interrupted(model):
    async with model.converse("You are a helpful assistant.", max_tokens=60) as chat:
        first = await chat.send("What is the capital of France?")
        assert "Paris" in first.content
        heard = []
        async for chunk in chat.send(LONG):
            heard.append(chunk.content)
            if sum(map(bool, heard)) == 3:
                chat.interrupt()
        assert chunk.finish_reason == "interrupted"
        assert chat.messages[-1]["content"] == "".join(heard)
        last = await chat.send("What is the capital of France?")
        # It was asked with all of that before, the part of the story included.
        assert last.usage.prompt_tokens > first.usage.prompt_tokens + 20
        assert len(chat.messages) == 7


def test_without_a_loop(model):
    with model.converse(max_tokens=20) as chat:
        assert chat.send("What is the capital of France?").result()["content"]
        assert "".join(chunk["content"] for chunk in chat.send("And of Italy?"))


async def test_functions_and_a_remote_model(api_service, llmock):
    asked = []

    def get_weather(city: str) -> dict[str, int]:
        """Weather of a city."""
        asked.append(city)
        return {"celsius": len(city)}

    calls = tuple(ToolCall("get_weather", {"city": city}) for city in ("Paris", "Rome"))
    llmock.add(Reply(text=None, tool_calls=calls, times=1))
    llmock.reply("5 and 4 degrees.", times=None)
    model = BaseAPIModel(
        "openrouter",
        "some-model",
        api_key="sk-llmock-test-key",
        base_url=llmock.base_url("openai"),
        target=api_service.address,
    )
    async with model.converse(tools=[get_weather]) as chat:
        answer = await chat.send("Weather in Paris and in Rome?")
    assert answer.content == "5 and 4 degrees."
    assert sorted(asked) == ["Paris", "Rome"]
    results = [message["content"] for message in chat.messages if message["role"] == "tool"]
    assert [json.loads(result) for result in results] == [{"celsius": 5}, {"celsius": 4}]
