"""Converse: what the caller says comes in, what the model says goes out, at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from marsys.v1 import (
    ConversationGoingAway,
    ConversationInterrupt,
    ConversationOpen,
    ConversationOpened,
    ConverseRequest,
    ConverseResponse,
    ErrorReason,
    TurnEvents,
    TurnFailed,
)
from serving.conversation import Conversation, conflict
from serving.conversation_limits import ConversationLimits
from serving.drain import Drain, shutting_down
from serving.errors import ServiceError, invalid, service_error
from serving.generator import Call, Generator
from serving.turn import Turn

_MOST_FAILURES = 8  # that wait to be told; then nothing more is read


class Dialogue:
    """One conversation with one caller.

    Two tasks share its state: one reads what the caller says and acts on it, so that an interrupt
    counts at once; the other, `run`, says what there is to say.

    Args:
        generator: answers.
        drain: tells when the service closes.
        limits: bounds the conversation.
        call: the call that carries it; its request id is the conversation's.
    """

    def __init__(
        self, generator: Generator, drain: Drain, limits: ConversationLimits, call: Call
    ) -> None:
        self._generator = generator
        self._drain = drain
        self._limits = limits
        self._call = call
        self._conversation: Conversation | None = None
        self._number = 0  # of the last turn
        self._turns: deque[Turn] = deque()  # those of which something is still to be said
        self._failures: deque[TurnFailed] = deque()
        self._told_opened = self._told_closing = False
        self._news, self._told = asyncio.Event(), asyncio.Event()

    async def run(
        self, requests: AsyncIterator[ConverseRequest]
    ) -> AsyncGenerator[ConverseResponse, None]:
        """What the service says, until the caller has nothing more to say and all is answered.

        Raises:
            ServiceError: the caller said what can't be said, or nothing for too long; or the
                service shuts down.
        """
        reading = asyncio.create_task(self._read(requests))
        closing = asyncio.create_task(self._drain.wait_closing())
        for task in (reading, closing):
            task.add_done_callback(lambda done: self._news.set())
        try:
            while True:
                self._news.clear()
                response = self._next()
                if response is not None:
                    yield response
                    self._told.set()
                    continue
                if reading.done():
                    reading.result()
                    if not self._turns:
                        return
                elif self._drain.closing and not self._turns:
                    raise shutting_down()
                await self._wait()
        finally:
            for task in (reading, closing):
                task.cancel()
            await asyncio.gather(reading, closing, return_exceptions=True)
            for turn in self._turns:
                await turn.close()

    def _next(self) -> ConverseResponse | None:
        """What is to be said next, if anything is."""
        if self._conversation is None:
            return None
        if not self._told_opened:
            self._told_opened = True
            opened = ConversationOpened(conversation_id=self._call.request_id)
            return ConverseResponse(opened=opened)
        if self._drain.closing and not self._told_closing:
            self._told_closing = True
            going_away = ConversationGoingAway()
            going_away.grace.FromMilliseconds(int(min(self._drain.left, 86400.0) * 1000))
            return ConverseResponse(going_away=going_away)
        if self._failures:
            return ConverseResponse(turn_failed=self._failures.popleft())
        while self._turns:
            turn = self._turns[0]
            events = turn.take()
            if events:
                return ConverseResponse(turn_events=TurnEvents(turn=turn.number, events=events))
            if not turn.over:
                return None
            self._turns.popleft()
            if turn.error is not None:
                return ConverseResponse(turn_failed=_failure(turn.number, turn.error))
        return None

    async def _wait(self) -> None:
        """Wait until there may be something to say.

        Raises:
            ServiceError: nothing has happened for too long.
        """
        idle = None if self._turns else self._limits.idle_timeout
        try:
            async with asyncio.timeout(idle):
                await self._news.wait()
        except TimeoutError:
            raise service_error(
                ErrorReason.ERROR_REASON_TIMEOUT,
                f"nothing was said in the conversation for {idle:g} s",
                action="Open it again with its messages.",
            ) from None

    async def _read(self, requests: AsyncIterator[ConverseRequest]) -> None:
        """Act on what the caller says, until he has nothing more to say.

        Raises:
            ServiceError: he said what can't be said.
        """
        async for request in requests:
            kind = request.WhichOneof("input")
            if kind is None:
                raise invalid("input", "must be set")
            if (kind == "open") != (self._conversation is None):
                raise invalid("input", "must be `open` first, and never again")
            if kind == "open":
                self._open(request.open)
            elif kind == "interrupt":
                self._interrupt(request.interrupt)
            else:
                await self._say(request)
            self._news.set()
            while len(self._failures) >= _MOST_FAILURES:
                self._told.clear()
                await self._told.wait()

    def _open(self, opening: ConversationOpen) -> None:
        self._conversation = Conversation(opening.template, self._limits.most_bytes)

    def _interrupt(self, interrupt: ConversationInterrupt) -> None:
        if not 0 <= interrupt.turn <= self._number:
            raise invalid("interrupt.turn", f"there is no turn {interrupt.turn}")
        for turn in self._turns:
            if interrupt.turn in (0, turn.number):
                turn.interrupt()

    async def _say(self, request: ConverseRequest) -> None:
        """A turn, or results of tool calls. What can't be taken fails a turn of its own."""
        assert self._conversation is not None
        try:
            if self._turns and self._turns[-1].answered:
                await self._turns[-1].ended()
            if self._turns and not self._turns[-1].over:
                raise conflict(
                    str(request.WhichOneof("input")),
                    f"turn {self._turns[-1].number} still runs; interrupt it, or wait for its end",
                )
            if self._drain.closing:
                raise shutting_down()
            if request.HasField("turn"):
                self._conversation.say(request.turn)
            elif not self._conversation.take_results(request.tool_results.results):
                return
        except ServiceError as error:
            self._number += 1
            self._failures.append(_failure(self._number, error))
            return
        self._number += 1
        call = replace(self._call, request_id=f"{self._call.request_id}.{self._number}")
        self._turns.append(
            Turn(
                self._number,
                self._generator,
                self._conversation.request,
                call,
                self._news.set,
                self._ended,
            )
        )

    def _ended(self, turn: Turn) -> None:
        assert self._conversation is not None
        if turn.error is None:
            self._conversation.finish(turn.response)
        else:
            self._conversation.undo()


def _failure(number: int, error: ServiceError) -> TurnFailed:
    return TurnFailed(turn=number, code=error.code.value[0], error=error.error)
