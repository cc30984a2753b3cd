"""The examples of other languages do what they show, with both services."""

from __future__ import annotations

import json

import pytest
from llmock.scenarios import Reply, ToolCall

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MODEL = "house/some-model"
STORY = "Once there was a ship. " * 100


def reason(line: str) -> str:
    """The last word of a line, a finish reason, without the prefix that some languages give it."""
    return line.split()[-1].removeprefix("FINISH_REASON_")


@pytest.fixture
def ask(example, api_service, token):
    """Run demos of the example against api_service."""

    def run(*demos):
        return example.run(api_service.address, MODEL, *demos, token=token)

    return run


def test_a_local_model(example, local_service, embedded_model):
    run = example.run(local_service.address, embedded_model)
    assert run.code == 0, run.out + run.err
    answer, finish, tokens = run.demo("unary")
    assert "Paris" in answer
    assert reason(finish) == "STOP"
    assert tokens.startswith("tokens: 3")

    tools = run.demo("tools")
    (first, *_), (last,) = (
        [line for line in tools if line.startswith("round 1:")],
        [line for line in tools if line.startswith("round ")][-1:],
    )
    assert reason(first) == "TOOL_CALLS"
    assert any(line.startswith("tool call: get_weather({") for line in tools)
    assert any(line.startswith("tool result: {") and "21" in line for line in tools)
    assert reason(last) in ("STOP", "LENGTH")

    opened, *turns = run.demo("converse")
    assert opened.startswith("opened: ")
    ends = [line for line in turns if line.startswith("turn ")]
    assert [reason(line) for line in ends] == ["INTERRUPTED", "STOP"]
    assert "Paris" in turns[turns.index(ends[0]) + 1]

    errors = "\n".join(run.demo("errors"))
    assert "ErrorInfo: INVALID_REQUEST of marsys.v1" in errors
    assert "BadRequest: config.temperature" in errors
    assert "INVALID_REQUEST, final" in errors


def test_a_remote_model(ask, llmock):
    llmock.reply("Paris it is.")
    run = ask("unary", "errors")
    assert run.code == 0, run.out + run.err
    assert run.demo("unary")[0] == "answer: Paris it is."
    assert "BadRequest: config.temperature" in "\n".join(run.demo("errors"))


def test_a_tool_of_a_remote_model(ask, llmock):
    calls = tuple(ToolCall("get_weather", {"city": city}) for city in ("Paris", "Lyon"))
    llmock.add(Reply(tool_calls=calls))
    llmock.reply("It is clear in both.")
    run = ask("tools")
    assert run.code == 0, run.out + run.err
    lines = run.demo("tools")
    assert sum(line.startswith("tool call: get_weather(") for line in lines) == 2
    assert "It is clear in both." in lines
    assert reason(lines[-1]) == "STOP"

    first, second = (request.body for request in llmock.requests)
    assert first["stream"]
    assert first["tool_choice"]["function"]["name"] == "get_weather"
    results = [message for message in second["messages"] if message["role"] == "tool"]
    asked = [json.loads(result["content"])["city"] for result in results]
    assert asked == ["Paris", "Lyon"]


def test_a_conversation_with_a_remote_model_is_interrupted_and_goes_on(ask, llmock):
    llmock.pace(50).reply(STORY).reply("Paris it is.")
    run = ask("converse")
    assert run.code == 0, run.out + run.err
    _, *turns = run.demo("converse")
    ends = [line for line in turns if line.startswith("turn ")]
    assert [reason(line) for line in ends] == ["INTERRUPTED", "STOP"]
    assert turns[-2] == "Paris it is."
    said = turns[0]
    assert STORY.startswith(said)
    assert len(said) < len(STORY) / 2

    *_, second = (request.body for request in llmock.requests)
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert STORY.startswith(second["messages"][1]["content"])


def test_a_wait_that_a_provider_asks_for(ask, llmock):
    llmock.rate_limit(times=None, retry_after=90)
    run = ask("tools")
    assert run.code == 1
    assert "ErrorInfo: RATE_LIMIT of marsys.v1" in run.err
    assert "RetryInfo: wait 90 s" in run.err
    assert "RATE_LIMIT, retryable" in run.err
    assert "provider: house, failed attempts: 1" in run.err


def test_a_turn_that_fails(ask, llmock):
    llmock.fail(400)
    run = ask("converse")
    assert run.code == 1
    assert "turn 1 failed" in run.err
    assert "INVALID_REQUEST, final" in run.err


def test_a_stream_that_breaks_off_is_no_answer(ask, llmock):
    llmock.reply("One two three four five six.", times=None).truncate(after_chunks=3, times=None)
    run = ask("tools")
    assert run.code == 1
    assert "ErrorInfo: MALFORMED_RESPONSE of marsys.v1" in run.err


def test_a_caller_without_a_token(example, api_service, llmock):
    run = example.run(api_service.address, MODEL, "unary")
    assert run.code == 1
    assert "ErrorInfo: UNAUTHENTICATED of marsys.v1" in run.err
    assert not llmock.requests
