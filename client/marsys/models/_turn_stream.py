"""The chunks of a turn of a conversation, on a thread or on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, Self

from marsys.models._calls import arun_calls, run_calls
from marsys.models._conversation_acts import Act, Begin, Cure, Read, RunCalls
from marsys.models._dialogue import LoopDialogue, SyncDialogue
from marsys.models._errors import timed_out
from marsys.models._interrupts import Uninterrupted, later
from marsys.models._steps import Clock, LoopDriver, SyncDriver
from marsys.models.response import AttributeDict, HarmonizedResponse
from marsys.rpc.connection import Connection

if TYPE_CHECKING:
    from marsys.models.converse import Conversation

_INTERRUPT_WAIT = 5.0  # seconds that an interrupted turn gets to end


class TurnStream(Iterator[AttributeDict], AsyncIterator[AttributeDict]):
    """The chunks of one turn. It begins with the first one that is asked for.

    Read it with `for` or `async for`, once; or `await` it, or call `result()`, for the whole
    answer. Chunks are those of `model.stream`, and where tools are run "tool_result", with
    `tool_results`. A turn in which tools are run has several answers; each ends with a "done".

    Raises:
        ModelAPIError: the turn has failed; ConversationLostError: the connection is lost.
    """

    def __init__(
        self,
        conversation: Conversation,
        connection: Connection,
        acts: Generator[Act, Any, None],
        timeout: float | None,
    ) -> None:
        self._conversation = conversation
        self._connection = connection
        self._acts = acts
        self._clock = Clock(None)
        self._timeout = timeout
        self._timers: list[threading.Timer] = []
        self._timed_out = self._stopped = False
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._begun = self._ended = False
        self._calls: asyncio.Task[Any] | None = None
        self._response: HarmonizedResponse | None = None

    @property
    def response(self) -> HarmonizedResponse | None:
        """The turn's last whole answer, once there is one."""
        return self._response

    async def result_async(self) -> HarmonizedResponse | None:
        """The same as `await`ing it, as a coroutine."""
        return await self._drained()

    def result(self) -> HarmonizedResponse | None:
        """Read to the end, blocking. Returns the turn's last whole answer."""
        for _ in self:
            pass
        return self._response

    def __await__(self) -> Generator[Any, None, HarmonizedResponse | None]:
        return self._drained().__await__()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AttributeDict:
        try:
            while True:
                with Uninterrupted(self._stop):
                    act = self._next_act()
                    while isinstance(act, Read):
                        self._try(act)
                        act = self._next_act()  # so that nothing that was read is lost
                if act is None:
                    raise StopIteration
                if isinstance(act, AttributeDict):
                    return act
                self._try(act)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: the turn is over, the conversation stays
            self.close()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AttributeDict:
        while True:
            act = self._next_act()
            if act is None:
                raise StopAsyncIteration
            if isinstance(act, AttributeDict):
                return act
            try:
                self._outcome = await self._ado(act)
            except Exception as error:
                self._error = error
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Stop: the turn is interrupted if it still runs. The conversation stays."""
        if not self._ended:
            self._end()
            self._acts.close()
            if self._begun:
                self._conversation.interrupt()

    async def aclose(self) -> None:
        """The same as `close`, for asyncio code."""
        self.close()

    def stop_calls(self) -> None:
        """Cancel tool calls that run on an event loop."""
        calls = self._calls
        if calls is not None and not calls.done():
            calls.get_loop().call_soon_threadsafe(calls.cancel)

    def _next_act(self) -> Act | None:
        """What is to be done next; None: the turn has ended."""
        if self._ended:
            return None
        if not self._begun:
            self._begin()
        outcome, error = self._outcome, self._error
        self._outcome = self._error = None
        try:
            act = self._acts.send(outcome) if error is None else self._acts.throw(error)
        except StopIteration:
            self._end()
            if self._timed_out and self._timeout is not None:
                raise timed_out(self._timeout) from None
            return None
        except BaseException:
            self._end()
            if self._timed_out and self._timeout is not None:
                raise timed_out(self._timeout) from None
            raise
        if isinstance(act, AttributeDict) and act["type"] == "done":
            self._response = act["response"]
        return act

    def _begin(self) -> None:
        self._begun = True
        self._clock = Clock(self._timeout)
        if self._timeout is not None:
            waits = (self._timeout, self._late), (self._timeout + _INTERRUPT_WAIT, self._leave)
            for seconds, what in waits:
                timer = threading.Timer(seconds, what)
                timer.daemon = True
                timer.start()
                self._timers.append(timer)

    def _end(self) -> None:
        self._ended = True
        for timer in self._timers:
            timer.cancel()

    def _stop(self) -> None:
        """Ctrl-C amid a read: stop the turn, which ends the read; if asked again, the call."""
        if self._stopped:
            self._leave()
            return
        self._stopped = True
        self._conversation.interrupt()
        later(_INTERRUPT_WAIT, self._leave)

    def _late(self) -> None:
        """The time is over: stop the turn."""
        self._timed_out = True
        self._conversation.interrupt()

    def _leave(self) -> None:
        """Nobody answers: leave the call."""
        dialogue = self._conversation._dialogue
        if dialogue is not None and not self._ended:
            dialogue.cancel()

    def _try(self, act: Act) -> None:
        try:
            self._outcome = self._do(act)
        except Exception as error:
            self._error = error

    def _do(self, act: Act) -> Any:
        if isinstance(act, Begin):
            if isinstance(act.present, SyncDialogue):
                return False
            self._replace(act, SyncDialogue(self._connection))
            return True
        if isinstance(act, RunCalls):
            return run_calls(act.functions, act.calls)
        if isinstance(act, Cure):
            return SyncDriver(self._connection, self._clock).run(act.steps)
        dialogue = self._conversation._dialogue
        assert isinstance(dialogue, SyncDialogue)
        return dialogue.read()

    async def _ado(self, act: Act) -> Any:
        if isinstance(act, Begin):
            if isinstance(act.present, LoopDialogue) and act.present.here:
                return False
            dialogue = LoopDialogue(self._connection)
            await dialogue.open()
            self._replace(act, dialogue)
            return True
        if isinstance(act, RunCalls):
            self._calls = asyncio.ensure_future(arun_calls(act.functions, act.calls))
            try:
                await asyncio.wait({self._calls})
            except asyncio.CancelledError:
                self._calls.cancel()
                raise
            return [] if self._calls.cancelled() else self._calls.result()
        if isinstance(act, Cure):
            return await LoopDriver(self._connection, self._clock).run(act.steps)
        present = self._conversation._dialogue
        assert isinstance(present, LoopDialogue)
        return await present.read()

    def _replace(self, act: Begin, dialogue: SyncDialogue | LoopDialogue) -> None:
        """Speak on another call from now on: the one before was made elsewhere, if there is one."""
        if act.present is not None:
            act.present.put(None)
            act.present.cancel()
        self._conversation._dialogue = dialogue

    async def _drained(self) -> HarmonizedResponse | None:
        async for _ in self:
            pass
        return self._response
