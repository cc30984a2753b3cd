"""A conversation: questions, answers, and the tools between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from marsys.agents.exceptions import ModelError
from marsys.cli._answer import AnswerScreen, tell_call, tell_result
from marsys.cli._choice import Chooser
from marsys.cli._tally import Tally
from marsys.cli._terminal import dim, to_stderr
from marsys.cli._waiting import Waiting
from marsys.models.response import HarmonizedResponse

if TYPE_CHECKING:
    from marsys.cli._tool_file import ToolFile

_ROUNDS = 20  # most answers of one turn: a model that calls tools for ever is stopped
_STOPPED = "the user stopped this call"


class Conversation:
    """What was said, and who says the next words.

    Args:
        runner: where calls run. It turns Ctrl-C into a cancelled call.
        chooser: finds models by name.
        model: name of the model, as for `Chooser.choose`.
        waiting: what is shown while nothing comes.
        screen: shows answers as they come; None: nothing of them is shown.
        tools: what the model may call.

    Raises:
        ModelError: no such model.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        chooser: Chooser,
        model: str | None,
        waiting: Waiting,
        screen: AnswerScreen | None,
        tools: ToolFile | None = None,
    ) -> None:
        self.chooser = chooser
        self.model = chooser.choose(model)
        self.system = ""
        self.tools = tools
        self._said: list[Any] = []
        self._runner = runner
        self._waiting = waiting
        self._screen = screen
        self._session = Tally()

    @property
    def empty(self) -> bool:
        """Whether nothing was said yet."""
        return not self._said

    def switch(self, name: str) -> None:
        """Go on with another model. What was said stays.

        Raises:
            ModelError: no such model; the one before stays.
        """
        self.model = self.chooser.choose(name)

    def forget(self) -> None:
        """Begin anew; the system message stays."""
        self._said.clear()

    def ask(self, question: dict[str, Any]) -> HarmonizedResponse | None:
        """Ask, call the tools that the model wants, and go on until it wants none.

        Ctrl-C ends the turn. What was said until then stays in the conversation; a question without
        any answer is as if never asked, and so is a turn that fails.

        Returns:
            The last answer; None where Ctrl-C ended the turn.

        Raises:
            ModelError: a call failed.
        """
        tally = Tally()
        turn: list[Any] = [question]
        for _ in range(_ROUNDS):
            taken: list[str] = []
            try:
                response = self._runner.run(self._answer([*self._said, *turn], taken))
            except KeyboardInterrupt:
                if words := "".join(taken):
                    turn.append({"role": "assistant", "content": words})
                self._interrupted(turn)
                return None
            tally.add(response)
            self._session.add(response)
            turn.append(response)
            calls = response["tool_calls"]
            whole = self._call_tools(calls, turn)
            if not whole:
                self._interrupted(turn)
                return None
            if not calls or self.tools is None:
                break
        else:
            dim(f"stopped: {_ROUNDS} answers in a row called tools")
        self._said += turn
        if self._screen is not None:
            dim(tally.line(self._session.cost))
        return response

    async def _answer(self, messages: list[Any], taken: list[str]) -> HarmonizedResponse:
        if self.system:
            messages = [{"role": "system", "content": self.system}, *messages]
        arguments: dict[str, Any] = {"tools": self.tools.definitions} if self.tools else {}
        self._waiting.spin(self.model.model_name)
        try:
            if self._screen is None:
                return await self.model.arun(messages, **arguments)
            stream = self.model.stream(messages, **arguments)
            await self._screen.show(stream, taken)
        finally:
            self._waiting.stop()
        if stream.response is None:
            raise ModelError("the answer ended before its end")
        return stream.response

    def _call_tools(self, calls: list[dict[str, Any]], turn: list[Any]) -> bool:
        """Call tools and add their results, one for each call. Returns False after Ctrl-C."""
        stopped = False
        for call in calls:
            tell_call(call)
            if self.tools is None:
                content, failed = "this chat has no tools", True
            elif stopped:
                content, failed = _STOPPED, True
            else:
                try:
                    function = call["function"]
                    content, failed = self.tools.call(function["name"], function["arguments"])
                except KeyboardInterrupt:
                    to_stderr().print()  # the terminal has shown ^C
                    content, failed, stopped = _STOPPED, True, True
            if self.tools is not None:
                tell_result(content, failed=failed)
            else:
                dim("nothing was called; --tools FILE.py offers tools")
            result = {"role": "tool", "tool_call_id": call["id"], "content": content}
            turn.append(result | {"is_error": True} if failed else result)
        return not stopped

    def _interrupted(self, turn: list[Any]) -> None:
        if len(turn) > 1:
            self._said += turn
        dim("interrupted")
