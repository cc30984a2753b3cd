"""A conversation that the service holds: only what is new is sent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Self, TypeAlias

import grpc

from marsys.agents.exceptions import ModelAPIError
from marsys.models._chunks import ChunkReader, new_chunk
from marsys.models._conversation_acts import Act, Begin, Cure, Read, RunCalls
from marsys.models._conversation_words import calls_of, messages_of, results_of
from marsys.models._dialogue import LoopDialogue, SyncDialogue, was_unsent
from marsys.models._errors import conversation_lost, from_call, invalid, to_exception, truncated
from marsys.models._functions import Function, Result, no_such_tool
from marsys.models._messages import to_messages
from marsys.models._steps import Step
from marsys.models._turn_stream import TurnStream
from marsys.models.response import AttributeDict, HarmonizedResponse, harmonize
from marsys.rpc.channel import place_of
from marsys.rpc.connection import Connection
from marsys.stream import spoken
from marsys.v1 import (
    ConversationInterrupt,
    ConversationOpen,
    ConversationToolResults,
    ConversationTurn,
    ConverseRequest,
    ConverseResponse,
    GenerateRequest,
    GenerateResponse,
    GenerationConfig,
    ModelError,
)

Recovery: TypeAlias = Callable[[ModelError, GenerateRequest, set[str]], Generator[Step, Any, bool]]
_NOT_RUN = "The call was not run."


class Conversation:
    """A conversation with a model. Made by `model.converse(...)`.

        async with model.converse(tools=[get_weather]) as chat:
            async for chunk in chat.send("How is the weather in Paris?"):
                print(chunk.content, end="")
            response = await chat.send("And in Rome?")

    Without an event loop: `with`, `for`, and `chat.send(...).result()`. Python functions among the
    tools are run when the model calls them, several at once, and what they return or raise goes
    back to it; calls of other tools end the turn, and `send_results` goes on. One turn runs at a
    time: a new one stops the one before, and so does leaving the loop over its chunks.

    A failed turn leaves no trace. Where the connection is lost, the turn raises
    ConversationLostError; its `messages`, like the conversation's own, are enough to go on: send
    again, here or with another model.

    Args:
        connection: where the service is.
        template: model, parameters and tools.
        messages: what the conversation begins with.
        functions: the tools that are run here, by name.
        configure: keyword arguments of a turn -> how to generate.
        recover: what can be done about a failed turn (see ModelCaller._recover).
        timeout: how long a turn may take in all, in seconds; None: without end.
        max_tool_rounds: most times in one turn that calls are run.
        max_retries: most retries that the service makes, for the log.
    """

    def __init__(
        self,
        connection: Connection,
        template: GenerateRequest,
        messages: list[Any],
        functions: Mapping[str, Function],
        configure: Callable[[dict[str, Any]], GenerationConfig],
        recover: Recovery,
        timeout: float | None,
        max_tool_rounds: int,
        max_retries: int,
    ) -> None:
        self._connection = connection
        self._template = template
        self._messages = messages
        self._functions = functions
        self._configure = configure
        self._recover = recover
        self._timeout = timeout
        self._max_tool_rounds = max_tool_rounds
        self._max_retries = max_retries
        self._dialogue: SyncDialogue | LoopDialogue | None = None
        self._reader: ChunkReader | None = None  # of the generation that runs
        self._said: list[Any] = []  # what it was asked with
        self._failure: ModelError | None = None
        self._unsent = False  # whether the call failed before what was said last went out
        self._taken = False  # whether what the turn said stands in the conversation
        self._interrupted = False
        self._going_away = False
        self._untouched = True  # whether nothing has come of the generation that runs
        self._open_calls: list[Any] = list(calls_of(messages[-1])) if messages else []
        self._results: dict[str, Result] = {}
        self._turn: TurnStream | None = None

    @property
    def messages(self) -> list[Any]:
        """All that was said, as `run` takes it: also with another model."""
        return list(self._messages)

    @property
    def open_calls(self) -> list[Any]:
        """Tool calls that wait for their results."""
        return [call for call in self._open_calls if call["id"] not in self._results]

    def send(self, content: Any, **kwargs: Any) -> TurnStream:
        """Say something and get the answer as it comes.

        Args:
            content: text, parts, a message of the user or the system, or a list of messages.
            **kwargs: how to generate from now on, such as `temperature`; in place of what held
                before.

        Returns:
            The chunks: iterate it, `await` it for the whole answer, or call `result()`.

        Raises:
            ModelAPIError: an argument is wrong. All else is raised by the stream.
        """
        said = messages_of(content)
        turn = ConversationTurn(messages=to_messages(said))
        for index, message in enumerate(said):
            if message.get("role") not in ("user", "system", "developer"):
                raise invalid(f"content[{index}].role", "must be user, system or developer")
        if kwargs:
            turn.config.CopyFrom(self._configure(kwargs))
        return self._start(turn, said)

    def send_results(self, results: Any = None) -> TurnStream:
        """Give results of open tool calls. Once all are given, the model goes on.

        Args:
            results: a dict of call id -> result, where text stays text and all else becomes JSON;
                or tool messages. None: those that were given before the turn failed.

        Raises:
            ModelAPIError: a result is of no open call, or some call has none yet.
        """
        given = {result.call_id: result for result in results_of(results, self._open_calls)}
        waiting = {call["id"] for call in self._open_calls}
        for call_id in given.keys() - waiting:
            raise invalid("results", f"no open tool call has the id {call_id!r}")
        self._results |= given
        if not waiting:
            raise invalid("results", "no tool call is open")
        if self.open_calls:
            names = ", ".join(repr(call["id"]) for call in self.open_calls)
            raise invalid("results", f"the results of {names} are missing")
        return self._start(None, [])

    def interrupt(self) -> None:
        """Stop the running turn; the conversation stays. May be called from any thread."""
        self._interrupted = True
        if self._dialogue is not None and self._reader is not None:
            self._dialogue.put(ConverseRequest(interrupt=ConversationInterrupt()))
        if self._turn is not None:
            self._turn.stop_calls()

    def close(self) -> None:
        """End the conversation."""
        if self._turn is not None:
            self._turn.close()
        self._drop(politely=self._reader is None)

    async def aclose(self) -> None:
        """The same as `close`, for asyncio code."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_dialogue") is not None:
            self._drop(politely=False)

    # What a turn does, step by step. TurnStream does the steps, on a thread or an event loop.

    def _start(self, turn: ConversationTurn | None, said: list[Any]) -> TurnStream:
        if self._turn is not None:
            self._turn.close()
        acts = self._acts(turn, said)
        self._turn = TurnStream(self, self._connection, acts, self._timeout)
        return self._turn

    def _acts(self, turn: ConversationTurn | None, said: list[Any]) -> Generator[Act, Any, None]:
        tried: set[str] = set()
        self._taken = turn is None
        while True:
            yield from self._settle()
            if self._going_away:
                self._drop(politely=True)
            try:
                begun = yield Begin(self._dialogue)
            except GeneratorExit:
                self._drop(politely=False)  # or the next turn would speak on a call without opening
                raise
            if begun:
                self._open()
            self._interrupted, self._failure, self._unsent = False, None, False
            try:
                yield from self._ask(turn, said)
            except ModelAPIError as error:
                gone = error.reason == "SHUTTING_DOWN" or self._unsent
                if gone and self._untouched and "move" not in tried:
                    tried.add("move")  # nothing has been heard yet, so another instance may answer
                elif self._failure is None or not (yield Cure(self._cure(self._failure, tried))):
                    raise
                self._drop(politely=True)  # the cure may have changed what the model is called
            else:
                return

    def _ask(self, turn: ConversationTurn | None, said: list[Any]) -> Generator[Act, Any, None]:
        if turn is not None and not self._taken:
            self._begin(ConverseRequest(turn=turn), [*self._unrun(), *said])
            yield from self._generation()
            self._taken = True
        else:
            yield from self._answer_calls()
        for _ in range(self._max_tool_rounds):
            calls = self._own_calls()
            if not calls or self._interrupted:
                return
            results = yield RunCalls(self._functions, calls)
            if self._interrupted:
                return
            for result in (*results, *self._strange_calls()):
                self._results[result.call_id] = result
                yield new_chunk("tool_result", tool_results=[result.message()])
            if self.open_calls:
                return  # those are the caller's
            yield from self._answer_calls()
        if self._own_calls():
            raise ModelAPIError(
                f"the model still calls tools after {self._max_tool_rounds} rounds",
                classification="invalid_request",
                suggested_action="Raise max_tool_rounds, or send something else.",
            )

    def _answer_calls(self) -> Generator[Act, Any, None]:
        """Send the results of all open calls."""
        messages = [self._results[call["id"]].message() for call in self._open_calls]
        parts = [message.parts[0].tool_result for message in to_messages(messages)]
        results = ConversationToolResults(results=parts)
        self._begin(ConverseRequest(tool_results=results), messages)
        yield from self._generation()

    def _generation(self) -> Generator[Act, Any, None]:
        """Read the running generation to its end."""
        while self._reader is not None:
            try:
                response: ConverseResponse | None = yield Read()
            except grpc.RpcError as error:
                self._unsent = was_unsent(error)
                raise self._lost(from_call(error, place_of(self._connection))) from None
            if response is None:
                raise self._lost(truncated("the service ended the conversation", 0))
            kind = response.WhichOneof("output")
            if kind == "going_away":
                self._going_away = True
            elif kind == "turn_failed":
                self._reader = None
                self._failure = response.turn_failed.error
                raise to_exception(self._failure)
            elif kind == "turn_events":
                self._untouched = False
                try:
                    chunks = self._reader.read(response.turn_events)
                except ModelAPIError as error:
                    raise self._lost(error) from None
                if self._reader.finished:  # told before they are handed out: a loop may be left
                    self._finish(chunks[-1]["response"])
                yield from chunks

    def _settle(self) -> Generator[Act, Any, None]:
        """Let a turn that nobody reads any more come to its end."""
        if self._reader is None or self._dialogue is None:
            return
        self._dialogue.put(ConverseRequest(interrupt=ConversationInterrupt()))
        settling = self._generation()
        outcome: Any = None
        try:
            while True:
                act = settling.send(outcome)
                outcome = None if isinstance(act, AttributeDict) else (yield act)
        except (StopIteration, ModelAPIError):
            return

    def _open(self) -> None:
        """The call is made: say what the conversation begins with."""
        assert self._dialogue is not None
        opening = ConverseRequest(open=ConversationOpen(template=self._template))
        opening.open.template.messages.extend(to_messages(self._messages) if self._messages else ())
        self._going_away = False
        self._dialogue.put(opening)

    def _begin(self, request: ConverseRequest, said: list[Any]) -> None:
        assert self._dialogue is not None
        if request.turn.HasField("config"):
            self._template.config.CopyFrom(request.turn.config)
        self._reader, self._said = ChunkReader(self._max_retries), said
        self._untouched = True
        self._dialogue.put(request)

    def _finish(self, response: HarmonizedResponse) -> None:
        """A generation has ended: it's part of the conversation now."""
        self._messages += self._said
        self._reader, self._open_calls, self._results = None, [], {}
        kept = spoken(response.proto)
        if kept is not None:
            whole = GenerateResponse()
            whole.CopyFrom(response.proto)
            whole.message.CopyFrom(kept)
            self._messages.append(harmonize(whole))
            self._open_calls = list(calls_of(self._messages[-1]))

    def _own_calls(self) -> list[Any]:
        return [call for call in self.open_calls if call["function"]["name"] in self._functions]

    def _strange_calls(self) -> list[Result]:
        """Results of calls of tools that there are not."""
        known = {tool.name for tool in self._template.tools}
        strange = (call for call in self.open_calls if call["function"]["name"] not in known)
        return [no_such_tool(call) for call in strange]

    def _unrun(self) -> list[Any]:
        """What the service says of calls that are left open, so that both know the same."""
        return [
            (
                self._results.get(call["id"])
                or Result(call["id"], call["function"]["name"], _NOT_RUN, is_error=True)
            ).message()
            for call in self._open_calls
        ]

    def _cure(self, failure: ModelError, tried: set[str]) -> Generator[Step, Any, bool]:
        try:
            return (yield from self._recover(failure, self._template, tried))
        except grpc.RpcError as error:
            raise from_call(error, place_of(self._connection), self._timeout) from None

    def _lost(self, error: ModelAPIError) -> ModelAPIError:
        self._drop(politely=False)
        return conversation_lost(error, self.messages)

    def _drop(self, *, politely: bool) -> None:
        """Leave the call."""
        dialogue, self._dialogue, self._reader = self._dialogue, None, None
        if dialogue is not None:
            dialogue.put(None)
            if not politely:
                dialogue.cancel()
