"""Converse on a real server: what is said, in which order, and what the service remembers of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from talker import Talker

from marsys.rpc.status import from_rpc_error
from marsys.stream import Fold
from marsys.v1 import (
    ConversationInterrupt,
    ConversationOpen,
    ConversationToolResults,
    ConversationTurn,
    ConverseRequest,
    ErrorReason,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    GenerationConfig,
    Message,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolResultPart,
    TurnFailed,
)

R = ErrorReason


class Chat:
    """A conversation as a client has it: what is said, and what has come."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def say(self, text: str, **fields: Any) -> None:
        message = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=text))])
        await self.call.write(ConverseRequest(turn=ConversationTurn(messages=[message], **fields)))

    async def answer(self, *results: tuple[str, str]) -> None:
        parts = [
            ToolResultPart(tool_call_id=call_id, content=[Part(text=TextPart(text=text))])
            for call_id, text in results
        ]
        said = ConversationToolResults(results=parts)
        await self.call.write(ConverseRequest(tool_results=said))

    async def interrupt(self, turn: int = 0) -> None:
        await self.call.write(ConverseRequest(interrupt=ConversationInterrupt(turn=turn)))

    async def hear(self) -> Any:
        return await asyncio.wait_for(self.call.read(), 20)

    async def turn(self, number: int | None = None) -> GenerateResponse | TurnFailed:
        """The next turn, whole."""
        fold = Fold()
        while not fold.finished:
            response = await self.hear()
            assert response is not grpc.aio.EOF
            if response.HasField("turn_failed"):
                failed: TurnFailed = response.turn_failed
                assert number in (None, failed.turn)
                return failed
            assert number in (None, response.turn_events.turn)
            for event in response.turn_events.events:
                fold.add(event)
        return fold.result()

    async def ends(self) -> Any:
        """The error with which it ends; None: with none."""
        response = await self.hear()
        assert response is grpc.aio.EOF
        code = await self.call.code()
        if code is grpc.StatusCode.OK:
            return None
        try:
            await self.call.read()
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        raise AssertionError("no error came")


Open = Callable[..., Awaitable[Chat]]


@pytest.fixture
async def make(make_bench: Any, echo_app: Any) -> Any:
    async def make(**limits: Any) -> Any:
        app = echo_app()
        app.generator = Talker()
        return await make_bench(app, **limits)

    return make


async def begin(bench: Any, *messages: Message, tools: int = 1, **fields: Any) -> Chat:
    chat = Chat(bench.stub.Converse())
    named = [ToolDefinition(name="t")] if tools else []
    template = GenerateRequest(model="m", messages=messages, tools=named, **fields)
    await chat.call.write(ConverseRequest(open=ConversationOpen(template=template)))
    opened = await chat.hear()
    assert opened.opened.conversation_id
    return chat


def text_of(response: Any) -> str:
    return "".join(part.text.text for part in response.message.parts)


def history(bench: Any) -> list[str]:
    """The messages that the model was asked with last: role and words."""
    return [
        f"{Role.Name(message.role).removeprefix('ROLE_').lower()}: "
        + " ".join(
            part.WhichOneof("content") if not part.HasField("text") else part.text.text.strip()
            for part in message.parts
        )
        for message in bench.app.generator.asked[-1].messages
    ]


async def test_the_service_remembers(make: Any) -> None:
    bench = await make()
    chat = await begin(bench, Message(role=Role.ROLE_SYSTEM, parts=[Part(text=TextPart(text="s"))]))
    await chat.say("one two")
    assert text_of(await chat.turn(1)) == "one two "
    await chat.say("three")
    assert text_of(await chat.turn(2)) == "three "
    assert history(bench) == ["system: s", "user: one two", "assistant: one two", "user: three"]
    assert bench.app.generator.ids[1].endswith(".2")
    await chat.call.done_writing()
    assert await chat.ends() is None


async def test_half_closed_while_a_turn_runs(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("one wait two")
    await bench.app.generator.waiting.wait()
    await chat.call.done_writing()
    await asyncio.sleep(0.05)
    bench.app.generator.release.set()
    assert text_of(await chat.turn(1)) == "one two "
    assert await chat.ends() is None


async def test_tools(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("call:a call:b")
    response: Any = await chat.turn(1)
    assert response.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    await chat.answer(("b", "bee"))
    await chat.answer(("a", "ay"))
    assert text_of(await chat.turn(2)) == "ay bee "
    assert history(bench)[-2:] == [
        "assistant: tool_call tool_call",
        "tool: tool_result tool_result",
    ]
    await chat.answer(("a", "again"))
    failed: Any = await chat.turn(3)
    assert (failed.error.reason, failed.code) == (R.ERROR_REASON_CONFLICT, 9)
    await chat.say("go on")
    assert text_of(await chat.turn(4)) == "go on "


async def test_wrong_results(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("call:a call:b")
    await chat.turn(1)
    for results, field in (
        ((), "tool_results.results"),
        ((("c", "x"),), "tool_results.results[0].tool_call_id"),
        ((("a", "x"), ("a", "y")), "tool_results.results[1].tool_call_id"),
    ):
        await chat.answer(*results)
        failed: Any = await chat.turn()
        assert failed.error.field == field
    bad = ToolResultPart(tool_call_id="a", content=[Part(tool_call=ToolCallPart(id="x", name="y"))])
    said = ConversationToolResults(results=[bad])
    await chat.call.write(ConverseRequest(tool_results=said))
    failed = await chat.turn()
    assert failed.error.field == "tool_results.results[0].content[0]"
    await chat.answer(("a", "ay"), ("b", "bee"))  # none of that was taken
    assert text_of(await chat.turn(6)) == "ay bee "


async def test_calls_that_a_turn_leaves_open(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("call:a call:b")
    await chat.turn(1)
    await chat.answer(("b", "bee"))
    await chat.say("never mind")
    assert text_of(await chat.turn(2)) == "never mind "
    results = bench.app.generator.asked[-1].messages[2].parts
    assert [part.tool_result.is_error for part in results] == [True, False]


async def test_interrupt(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("one wait two")
    await bench.app.generator.waiting.wait()
    await chat.interrupt()
    response: Any = await chat.turn(1)
    assert response.finish_reason == FinishReason.FINISH_REASON_INTERRUPTED
    assert text_of(response) == "one "
    assert bench.app.generator.stopped == 1
    await chat.interrupt(1)  # it has ended: nothing happens
    await chat.interrupt()
    await chat.say("three")
    assert text_of(await chat.turn(2)) == "three "
    assert history(bench) == ["user: one wait two", "assistant: one", "user: three"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("wait", ["user: wait"]), ("half", ["user: half"]), ("think", ["user: think"])],
)
async def test_interrupted_before_anything_of_use(text: str, said: list[str], make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say(text)
    await bench.app.generator.waiting.wait()
    await chat.interrupt(1)
    response: Any = await chat.turn(1)
    assert response.finish_reason == FinishReason.FINISH_REASON_INTERRUPTED
    assert all(
        part.tool_call.incomplete for part in response.message.parts if part.HasField("tool_call")
    )
    await chat.say("next")
    assert text_of(await chat.turn(2)) == "next "
    assert history(bench) == [*said, "user: next"]


async def test_interrupted_after_a_whole_call(make: Any) -> None:
    """It isn't run, so that nothing waits for its result."""
    bench = await make()
    chat = await begin(bench)
    await chat.say("one call:a wait")
    await bench.app.generator.waiting.wait()
    await chat.interrupt()
    await chat.turn(1)
    await chat.say("next")
    assert text_of(await chat.turn(2)) == "next "
    assert history(bench) == ["user: one call:a wait", "assistant: one", "user: next"]


async def test_a_failed_turn_leaves_no_trace(make: Any) -> None:
    bench = await make()
    chat = await begin(bench, config=GenerationConfig(temperature=0.5))
    await chat.say("call:a")
    await chat.turn(1)
    await chat.answer(("a", "one overloaded"))
    failed: Any = None
    while not isinstance(failed, TurnFailed):
        response = await chat.hear()
        failed = response.turn_failed if response.HasField("turn_failed") else None
    assert (failed.turn, failed.code) == (2, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert failed.error.reason == R.ERROR_REASON_OVERLOADED
    await chat.answer(("a", "fine"))
    assert text_of(await chat.turn(3)) == "fine "
    await chat.say("bug", config=GenerationConfig(temperature=1.5))
    failed = await chat.turn(4)
    assert failed.error.reason == R.ERROR_REASON_INTERNAL
    assert "secret" not in str(failed)
    await chat.say("on")
    assert text_of(await chat.turn(5)) == "on "
    assert bench.app.generator.asked[-1].config.temperature == 0.5
    assert history(bench)[-1] == "user: on"
    assert not [line for line in history(bench) if "bug" in line or "overloaded" in line]


async def test_a_turns_config_holds_on(make: Any) -> None:
    bench = await make()
    chat = await begin(bench, config=GenerationConfig(temperature=0.5, max_tokens=7))
    await chat.say("a", config=GenerationConfig(temperature=1.0))
    await chat.turn(1)
    await chat.say("b")
    await chat.turn(2)
    config = bench.app.generator.asked[-1].config
    assert config.temperature == 1.0
    assert not config.HasField("max_tokens")
    await chat.say("c", config=GenerationConfig(temperature=9.0))
    failed: Any = await chat.turn(3)
    assert failed.error.field == "turn.config.temperature"


async def test_one_turn_at_a_time(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("one wait two")
    await bench.app.generator.waiting.wait()
    await chat.say("too early")
    while True:
        response = await chat.hear()
        if response.HasField("turn_failed"):
            break
    assert response.turn_failed.turn == 2
    assert response.turn_failed.error.reason == R.ERROR_REASON_CONFLICT
    bench.app.generator.release.set()
    while not any(event.HasField("finished") for event in (await chat.hear()).turn_events.events):
        pass
    await chat.say("three")
    assert text_of(await chat.turn(3)) == "three "
    assert history(bench) == ["user: one wait two", "assistant: one two", "user: three"]


async def test_a_conversation_goes_on_elsewhere(make: Any) -> None:
    """It may begin with calls whose results are yet to come."""
    bench = await make()
    user = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="x"))])
    calls = [Part(tool_call=ToolCallPart(id=each, name="t")) for each in "ab"]
    chat = await begin(bench, user, Message(role=Role.ROLE_ASSISTANT, parts=calls))
    await chat.answer(("a", "ay"), ("b", "bee"))
    assert text_of(await chat.turn(1)) == "ay bee "


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([ConverseRequest()], "input"),
        ([ConverseRequest(turn=ConversationTurn())], "input"),
        ([ConverseRequest(open=ConversationOpen())], "model"),
        (
            [ConverseRequest(open=ConversationOpen(template=GenerateRequest(model="m")))] * 2,
            "input",
        ),
        (
            [
                ConverseRequest(open=ConversationOpen(template=GenerateRequest(model="m"))),
                ConverseRequest(interrupt=ConversationInterrupt(turn=1)),
            ],
            "interrupt.turn",
        ),
        (
            [
                ConverseRequest(
                    open=ConversationOpen(
                        template=GenerateRequest(model="m", messages=[Message(role=Role.ROLE_USER)])
                    )
                )
            ],
            "messages[0].parts",
        ),
    ],
)
async def test_what_can_not_be_said(inputs: Any, field: str, make: Any) -> None:
    bench = await make()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [response async for response in bench.stub.Converse(iter(inputs))]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(caught.value).field == field


async def test_messages_of_others_are_not_taken(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    for role in (Role.ROLE_ASSISTANT, Role.ROLE_TOOL, Role.ROLE_UNSPECIFIED):
        message = Message(role=role, parts=[Part(text=TextPart(text="x"))])
        await chat.call.write(ConverseRequest(turn=ConversationTurn(messages=[message])))
        failed: Any = await chat.turn()
        assert failed.error.field.startswith("turn.messages[0]")
    await chat.call.write(ConverseRequest(turn=ConversationTurn()))
    failed = await chat.turn()
    assert failed.error.field == "turn.messages"
    assert bench.app.generator.asked == []


async def test_a_conversation_has_a_size(make: Any) -> None:
    bench = await make(max_conversation_bytes=2000)
    chat = await begin(bench)
    await chat.say("x" * 500)
    await chat.turn(1)
    await chat.say("y" * 1500)
    failed: Any = await chat.turn(2)
    assert failed.error.reason == R.ERROR_REASON_REQUEST_TOO_LARGE
    await chat.say("z")
    assert text_of(await chat.turn(3)) == "z "


async def test_conversations_are_counted(make: Any) -> None:
    bench = await make(max_conversations=2)
    first, second = await begin(bench), await begin(bench)
    third = Chat(bench.stub.Converse())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await third.call.read()
    assert from_rpc_error(caught.value).reason == R.ERROR_REASON_OVERLOADED
    first.call.cancel()
    await second.say("still here")
    assert text_of(await second.turn(1)) == "still here "


async def test_an_idle_conversation_ends(make: Any) -> None:
    bench = await make(conversation_idle_timeout=0.3)
    chat = await begin(bench)
    await chat.say("one wait two")  # a turn that takes longer is not idle
    await bench.app.generator.waiting.wait()
    await asyncio.sleep(0.6)
    bench.app.generator.release.set()
    assert text_of(await chat.turn(1)) == "one two "
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await chat.hear()
    assert from_rpc_error(caught.value).reason == R.ERROR_REASON_TIMEOUT


async def test_a_caller_that_leaves_ends_the_turn(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say("one wait two")
    await bench.app.generator.waiting.wait()
    chat.call.cancel()
    async with asyncio.timeout(20):
        while not bench.app.generator.stopped:
            await asyncio.sleep(0.01)
    await bench.server.stop(5)
    bench.app.stopped = True


async def test_a_closing_service_says_so(make: Any) -> None:
    bench = await make()
    busy, idle = await begin(bench), await begin(bench)
    await busy.say("one wait two")
    await bench.app.generator.waiting.wait()
    stopping = asyncio.create_task(bench.server.stop(20))
    bench.app.stopped = True
    going = await idle.hear()
    assert 0 < going.going_away.grace.ToMilliseconds() <= 20_000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await idle.hear()
    assert from_rpc_error(caught.value).reason == R.ERROR_REASON_SHUTTING_DOWN
    while not (response := await busy.hear()).HasField("going_away"):
        pass
    bench.app.generator.release.set()
    finished = False
    while not finished:
        response = await busy.hear()
        finished = any(event.HasField("finished") for event in response.turn_events.events)
    with pytest.raises(grpc.aio.AioRpcError):
        await busy.hear()
    assert await stopping


async def test_who_does_not_read_holds_the_model_up(make: Any) -> None:
    bench = await make()
    chat = await begin(bench)
    await chat.say(" ".join("x" * 5000 for _ in range(2000)))  # 10 MB of words to say back
    await asyncio.sleep(1.0)
    assert 0 < bench.app.generator.batches < 1000
    response: Any = await chat.turn(1)
    assert len(text_of(response)) == 2000 * 5001
