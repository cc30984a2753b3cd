"""Conversations through the Python client, synchronous and asynchronous, on a real server."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from client_talking import TalkingService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsys.agents.exceptions import ConversationLostError, ModelAPIError, ModelTimeoutError
from marsys.models import BaseAPIModel
from marsys.models._messages import to_messages
from marsys.v1 import Role


@pytest.fixture
def service() -> Iterator[TalkingService]:
    talking = TalkingService().begin()
    yield talking
    talking.end()


@pytest.fixture
def model(service: TalkingService) -> BaseAPIModel:
    return BaseAPIModel("p", "m", target=service.address)


def words(stream: Any) -> str:
    return "".join(chunk["content"] for chunk in stream)


async def awords(stream: Any) -> str:
    return "".join([chunk.content async for chunk in stream])


def test_a_conversation_without_a_loop(model: BaseAPIModel, service: TalkingService) -> None:
    with model.converse("Be brief.") as chat:
        assert words(chat.send("one two")) == "one two "
        assert chat.send("three").result()["content"] == "three "
        assert service.asked == [
            "system: Be brief.",
            "user: one two",
            "assistant: one two",
            "user: three",
        ]
        assert [message["role"] for message in chat.messages] == [
            "system",
            "user",
            "assistant",
            "user",
            "assistant",
        ]
    assert len(service.talker.asked) == 2


async def test_a_conversation_on_a_loop(model: BaseAPIModel, service: TalkingService) -> None:
    async with model.converse() as chat:
        assert await awords(chat.send("one two")) == "one two "
        answer = await chat.send([{"type": "text", "text": "three"}])
        assert answer.content == "three "
    assert service.asked[-1] == "user: three"


async def test_functions_are_run(model: BaseAPIModel, service: TalkingService) -> None:
    ran: list[str] = []
    both = threading.Barrier(2, timeout=10)

    def t() -> str:
        """The tool."""
        both.wait()  # two calls of a turn run at the same time
        ran.append("t")
        return "result"

    async with model.converse(tools=[t]) as chat:
        chunks = [chunk async for chunk in chat.send("call:a call:b")]
    kinds = [chunk.type for chunk in chunks]
    assert kinds.count("tool_call") == kinds.count("tool_result") == kinds.count("done") == 2
    assert "".join(chunk.content for chunk in chunks) == "result result "
    assert ran == ["t", "t"]
    roles = [message["role"] for message in chat.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    tool = service.talker.asked[0].tools[0]
    assert (tool.name, tool.description) == ("t", "The tool.")


def test_functions_are_run_without_a_loop(model: BaseAPIModel) -> None:
    async def t() -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": 1}

    with model.converse(tools=[t]) as chat:
        assert chat.send("call:a").result()["content"] == '{"n": 1} '


async def test_what_a_function_raises_goes_to_the_model(
    model: BaseAPIModel, service: TalkingService
) -> None:
    def t() -> None:
        raise RuntimeError("no weather")

    async with model.converse(tools=[t]) as chat:
        assert (await chat.send("call:a")).content == "RuntimeError: no weather "
    assert service.talker.asked[-1].messages[2].parts[0].tool_result.is_error


async def test_rounds_have_an_end(model: BaseAPIModel) -> None:
    count = 0

    def t() -> str:
        nonlocal count
        count += 1
        return f"call:again{count}"

    async with model.converse(tools=[t], max_tool_rounds=3) as chat:
        with pytest.raises(ModelAPIError, match="after 3 rounds"):
            await chat.send("call:a")
        assert count == 3
        assert (await chat.send("enough")).content == "enough "


async def test_tools_of_the_callers_own(model: BaseAPIModel, service: TalkingService) -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    async with model.converse(tools=[tool]) as chat:
        answer = await chat.send("call:a call:b")
        assert answer.finish_reason == "tool_calls"
        assert [call["id"] for call in chat.open_calls] == ["a", "b"]
        for wrong in ({"c": "x"}, {"a": "x"}, 7):
            with pytest.raises(ModelAPIError) as caught:
                chat.send_results(wrong)
            assert caught.value.field == "results"
        message = {"role": "tool", "tool_call_id": "b", "content": "bee"}
        with pytest.raises(ModelAPIError):
            chat.send_results([{**message, "tool_call_id": "x"}])
        assert (await chat.send_results([message])).content == "x bee "
        await chat.send("call:c")
        assert (await chat.send("never mind")).content == "never mind "
        assert service.asked[-2:] == ["tool: tool_result", "user: never mind"]
        again = await model.arun(chat.messages)  # the history is one that `run` takes
        assert again.content


async def test_interrupt(model: BaseAPIModel, service: TalkingService) -> None:
    async with model.converse() as chat:
        heard = []
        async for chunk in chat.send("one wait two"):
            heard.append(chunk.type)
            if chunk.content:
                chat.interrupt()
        assert heard[-1] == "done"
        assert chunk.finish_reason == "interrupted"
        assert (await chat.send("three")).content == "three "
    assert service.asked == ["user: one wait two", "assistant: one", "user: three"]


def test_interrupt_from_another_thread(model: BaseAPIModel, service: TalkingService) -> None:
    with model.converse() as chat:
        stream = chat.send("one wait two")
        assert next(stream)["content"] == "one "
        threading.Timer(0.1, chat.interrupt).start()
        assert stream.result()["finish_reason"] == "interrupted"
        assert words(chat.send("three")) == "three "


async def test_a_loop_that_is_left_interrupts(model: BaseAPIModel, service: TalkingService) -> None:
    async with model.converse() as chat:
        async for chunk in chat.send("one wait two"):
            if chunk.content:
                break
        assert (await chat.send("three")).content == "three "
        assert service.talker.stopped == 1
        waiting = asyncio.ensure_future(chat.send("four wait").result_async())
        while not service.talker.waiting.is_set():
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await chat.send("five")).content == "five "
    assert service.asked[-4:] == [
        "assistant: three",
        "user: four wait",
        "assistant: four",
        "user: five",
    ]


async def test_interrupt_while_functions_run(model: BaseAPIModel, service: TalkingService) -> None:
    started = asyncio.Event()

    async def t() -> str:
        started.set()
        await asyncio.sleep(600)
        return "never"

    async with model.converse(tools=[t]) as chat:
        turn = asyncio.ensure_future(chat.send("call:a").result_async())
        await started.wait()
        chat.interrupt()
        assert (await turn).finish_reason == "tool_calls"
        assert (await chat.send("next")).content == "next "


async def test_a_failed_turn(model: BaseAPIModel, service: TalkingService) -> None:
    async with model.converse() as chat:
        await chat.send("one")
        for text, reason in (("overloaded", "OVERLOADED"), ("bug", "INTERNAL")):
            with pytest.raises(ModelAPIError) as caught:
                await chat.send(text)
            assert caught.value.reason == reason
            assert not isinstance(caught.value, ConversationLostError)
        await chat.send("two")
    assert service.asked == ["user: one", "assistant: one", "user: two"]


async def test_results_after_a_failed_turn(model: BaseAPIModel, service: TalkingService) -> None:
    answers = ["overloaded", "fine"]
    tool = {"name": "t", "input_schema": {"type": "object"}}
    async with model.converse(tools=[tool]) as chat:
        await chat.send("call:a")
        with pytest.raises(ModelAPIError):
            await chat.send_results({"a": answers[0]})
        assert (await chat.send_results({"a": answers[1]})).content == "fine "


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_lost_connection(
    asynchronous: bool, model: BaseAPIModel, service: TalkingService
) -> None:
    chat = model.converse()

    async def ask(text: str) -> Any:
        if asynchronous:
            return await chat.send(text)
        return await asyncio.to_thread(chat.send(text).result)

    await ask("one")
    turn = asyncio.ensure_future(ask("two wait"))
    await asyncio.to_thread(service.wait)
    service.port = service.address.rpartition(":")[2]
    await asyncio.to_thread(service.end)
    with pytest.raises(ConversationLostError) as caught:
        await turn
    assert [message["role"] for message in caught.value.messages] == ["user", "assistant"]
    again = TalkingService(port=service.port).begin()
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    answer = await ask("three")
                    break
                except ConversationLostError:
                    await asyncio.sleep(0.1)
        assert answer["content"] == "three "
        assert again.asked == ["user: one", "assistant: one", "user: three"]
        moved = model.converse(caught.value.messages)
        assert (await moved.send("four")).content == "four "
        await chat.aclose()
        await moved.aclose()
    finally:
        await asyncio.to_thread(again.end)


async def test_a_service_that_closes(model: BaseAPIModel, service: TalkingService) -> None:
    """A turn in progress is finished; the next one is asked elsewhere."""
    chat = model.converse()
    await chat.send("one")
    turn = asyncio.ensure_future(chat.send("two wait").result_async())
    await asyncio.to_thread(service.wait)
    service.port = service.address.rpartition(":")[2]
    stopping = asyncio.ensure_future(asyncio.to_thread(service.do, service._server.stop(20)))
    await asyncio.sleep(0.2)
    service.release()
    assert (await turn).content == "two "
    await stopping
    again = TalkingService(port=service.port).begin()
    try:
        assert (await chat.send("three")).content == "three "
        assert again.asked[2:4] == ["user: two wait", "assistant: two"]
    finally:
        await chat.aclose()
        await asyncio.to_thread(again.end)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_service_that_closes_while_nothing_runs(
    asynchronous: bool, model: BaseAPIModel, service: TalkingService
) -> None:
    chat = model.converse()

    async def ask(text: str) -> Any:
        if asynchronous:
            return await chat.send(text)
        return await asyncio.to_thread(chat.send(text).result)

    await ask("one")
    service.port = service.address.rpartition(":")[2]
    await asyncio.to_thread(service.end)
    again = TalkingService(port=service.port).begin()
    try:
        assert (await ask("two"))["content"] == "two "
        assert again.asked == ["user: one", "assistant: one", "user: two"]
    finally:
        await chat.aclose()
        await asyncio.to_thread(again.end)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_service_that_is_replaced_while_a_tool_runs(
    asynchronous: bool, model: BaseAPIModel, service: TalkingService
) -> None:
    """The results go to the next instance, and the question is not asked there again."""
    service.port = service.address.rpartition(":")[2]
    again = []

    def t() -> str:
        """Replaces the service."""
        service.end()
        again.append(TalkingService(port=service.port).begin())
        return "replaced"

    chat = model.converse(tools=[t])
    try:
        if asynchronous:
            answer = await chat.send("call:a")
        else:
            answer = await asyncio.to_thread(chat.send("call:a").result)
        assert "replaced" in answer["content"]
        assert again[0].asked == ["user: call:a", "assistant: tool_call", "tool: tool_result"]
        assert [message["role"] for message in chat.messages] == [
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
    finally:
        await chat.aclose()
        for each in again:
            await asyncio.to_thread(each.end)


async def test_time(model: BaseAPIModel, service: TalkingService) -> None:
    async with model.converse(timeout=0.5) as chat:
        with pytest.raises(ModelTimeoutError):
            await chat.send("one wait")
        assert (await chat.send("two")).content == "two "
    assert service.asked == ["user: one wait", "assistant: one", "user: two"]


async def test_how_to_generate(model: BaseAPIModel, service: TalkingService) -> None:
    async with model.converse(temperature=0.5, max_tokens=7) as chat:
        await chat.send("one")
        assert service.talker.asked[-1].config.temperature == 0.5
        await chat.send("two", temperature=1.0)
        await chat.send("three")
        config = service.talker.asked[-1].config
        assert (config.temperature, config.max_tokens) == (1.0, 7)
        for wrong in ({"tools": []}, {"colour": 1}, {"temperature": "hot"}):
            with pytest.raises(ModelAPIError) as caught:
                chat.send("x", **wrong)
            assert caught.value.field == next(iter(wrong))


async def test_what_can_not_be_said(model: BaseAPIModel) -> None:
    chat = model.converse()
    for wrong in (
        {"role": "assistant", "content": "x"},
        {"role": "tool", "content": "x"},
        {"content": "x"},
        7,
    ):
        with pytest.raises(ModelAPIError):
            chat.send(wrong)
    with pytest.raises(ModelAPIError):
        chat.send_results({"a": 1})


async def test_nobody_serves() -> None:
    chat = BaseAPIModel("p", "m", target="127.0.0.1:9").converse()
    with pytest.raises(ModelAPIError, match="no service answers"):
        await chat.send("x")


def test_used_here_and_there(model: BaseAPIModel, service: TalkingService) -> None:
    """On a thread, then on one loop, then on another: it moves, and nothing is forgotten."""
    chat = model.converse()
    chat.send("one").result()

    async def ask(text: str) -> Any:
        return await chat.send(text)

    asyncio.run(ask("two"))
    asyncio.run(ask("three"))
    chat.send("four").result()
    assert service.asked[::2] == ["user: one", "user: two", "user: three", "user: four"]
    chat.close()


def test_a_dropped_conversation_ends(model: BaseAPIModel, service: TalkingService) -> None:
    chat = model.converse()
    stream = chat.send("one wait")
    next(stream)
    service.wait()
    del stream, chat
    gc.collect()
    end = time.monotonic() + 20
    while not service.talker.stopped:
        assert time.monotonic() < end
        time.sleep(0.01)


WORDS = st.sampled_from(["one", "two", "call", "overloaded", "bug"])


@given(turns=st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=6))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_client_and_service_remember_the_same(
    turns: list[list[str]], model: BaseAPIModel, service: TalkingService
) -> None:
    """Whatever is said, called, or fails: the messages are what the model was asked with."""
    count = 0

    def t() -> str:
        return "result"

    tool = {"name": "own", "input_schema": {"type": "object"}}
    with model.converse("Be brief.", tools=[t, tool]) as chat:
        for turn in turns:
            said = []
            for word in turn:
                count += 1
                said.append(f"call:c{count}" if word == "call" else word)
            before = chat.messages
            try:
                chat.send(" ".join(said)).result()
            except ModelAPIError:
                assert chat.messages == before
                continue
            asked = list(service.talker.asked[-1].messages)
            assert merged(to_messages(chat.messages[:-1])) == asked
        assert not chat.open_calls


def merged(messages: list[Any]) -> list[Any]:
    """The messages as the service has them: results of a turn's calls in one."""
    found: list[Any] = []
    for message in messages:
        if found and message.role == found[-1].role == Role.ROLE_TOOL:
            found[-1].parts.extend(message.parts)
        else:
            found.append(message)
    return found
