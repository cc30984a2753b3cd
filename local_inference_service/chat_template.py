"""A model's chat template, and what it takes: found by trying it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

Turn = dict[str, Any]
"""A message as templates know it."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_TOOL = {
    "type": "function",
    "function": {
        "name": "qzxtool",
        "description": "Does it.",
        "parameters": {"type": "object", "properties": {"size": {"type": "string"}}},
    },
}
_PROBES = ("qzxcall", "qzxkey", "qzxvalue", "qzxresult")
# Signs that the arguments were printed as Python or encoded twice.
_BADLY_WRITTEN = ("'qzxkey'", '\\"qzxkey')
_TOGGLES = ("enable_thinking", "thinking")


@dataclass(frozen=True, slots=True)
class _CallForm:
    """How a template wants tool calls.

    Attributes:
        arguments_as_text: the text of a JSON object; else the object.
        short_ids: ids of nine letters and digits (Mistral).
        no_content: what a turn without text has as its content.
    """

    arguments_as_text: bool
    short_ids: bool
    no_content: str | None


class ChatTemplate:
    """The chat template of a tokenizer or processor.

    Args:
        holder: the transformers tokenizer or processor that holds the template.
        content: a role and its text -> the content of a turn, as the template takes it.

    Attributes:
        exists: whether there is one.
        takes_system: whether a conversation may begin with a system message.
        takes_tools: whether definitions, calls and results of tools all come through.
        takes_parallel_calls: whether a turn may call several tools.
        toggle: the variable that switches reasoning on and off; None where there is none.
        efforts: values that the variable reasoning_effort may have; empty where there is none.
    """

    def __init__(
        self, holder: Any, content: Callable[[str, str], Any] = lambda role, text: text
    ) -> None:
        self._holder = holder
        self._content = content
        self.exists = bool(holder.chat_template)
        self._form = _CallForm(False, False, "")
        self._thought_or_content = False  # a turn with calls can't have both (gpt-oss)
        self.takes_system = self.takes_tools = self.takes_parallel_calls = False
        self.toggle: str | None = None
        self.efforts: frozenset[str] = frozenset()
        if self.exists:
            self._try_out()

    def render(
        self,
        turns: Sequence[Turn],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        continued: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of a conversation.

        Args:
            turns: the messages.
            tools: definitions in OpenAI's form.
            continued: whether the last turn is to be continued; else a new one begins.
            variables: of the template, such as {"enable_thinking": False}.

        Raises:
            Exception: templates are programs, and fail as they like at what they don't take.
        """
        prompt = self._holder.apply_chat_template(
            list(turns),
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
            **(variables or {}),
        )
        return str(prompt)

    def calling(self, turn: Turn, calls: Sequence[tuple[str, str, str]]) -> Turn:
        """An assistant's turn with tool calls, each given by its id, name and JSON arguments."""
        entries = [
            {
                "id": self._call_id(call_id),
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": arguments
                    if self._form.arguments_as_text
                    else json.loads(arguments),
                },
            }
            for call_id, name, arguments in calls
        ]
        return turn | {"content": turn["content"] or self._form.no_content, "tool_calls": entries}

    def thinking(self, turn: Turn, thought: str) -> Turn:
        """An assistant's turn with what it thought before; many templates leave that out."""
        if self._thought_or_content and "tool_calls" in turn and turn["content"]:
            thought = f"{thought}\n\n{turn['content']}"
            turn = turn | {"content": self._form.no_content}
        return turn | {"reasoning_content": thought, "thinking": thought}

    def answering(self, call_id: str, name: str, content: Any) -> Turn:
        """The turn with a tool's result."""
        called = self._call_id(call_id)
        return {"role": "tool", "tool_call_id": called, "name": name, "content": content}

    def _call_id(self, call_id: str) -> str:
        if not self._form.short_ids:
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:9]

    def _try_out(self) -> None:
        user = self._turn("user", "Hello")
        asked = [self._turn("system", "qzxsystem"), user]
        said = self._tried(asked) or self._tried(asked, tools=[_TOOL])
        self.takes_system = said is not None and "qzxsystem" in said
        shown = self._tried([user], tools=[_TOOL])
        for form in (_CallForm(*way) for way in product((False, True), (False, True), ("", None))):
            self._form = form
            if self._shows_calls(1):
                self.takes_tools = shown is not None and "qzxtool" in shown
                self.takes_parallel_calls = self._shows_calls(2)
                self._thought_or_content = not self._shows_calls(1, "qzxsaid", "qzxthought")
                break
        for name in _TOGGLES:
            on, off = self._with(name, True), self._with(name, False)
            if on is not None and off is not None and on != off:
                self.toggle = name
                break
        efforts = {effort: self._with("reasoning_effort", effort) for effort in EFFORTS}
        taken = {effort: text for effort, text in efforts.items() if text is not None}
        if len(set(taken.values())) > 1:
            self.efforts = frozenset(taken)

    def _shows_calls(self, count: int, said: str = "", thought: str = "") -> bool:
        """Whether calls and their results come through as they were given."""
        numbers = range(count)
        calls = [
            (f"call_{n}", f"{_PROBES[0]}{n}", json.dumps({f"{_PROBES[1]}": f"{_PROBES[2]}{n}"}))
            for n in numbers
        ]
        turn = self.calling(self._turn("assistant", said), calls)
        turns = [self._turn("user", "Hello"), turn | {"thinking": thought} if thought else turn]
        turns += [
            self.answering(call_id, name, f"{_PROBES[3]}{n}")
            for n, (call_id, name, _) in enumerate(calls)
        ]
        prompt = self._tried(turns, tools=[_TOOL])
        if prompt is None or any(sign in prompt for sign in _BADLY_WRITTEN):
            return False
        named = [f"{probe}{n}" for n in numbers for probe in (_PROBES[0], *_PROBES[2:])]
        return _PROBES[1] in prompt and all(probe in prompt for probe in named)

    def _with(self, name: str, value: Any) -> str | None:
        """The prompt where a variable has a value; None where the template has no such one."""
        if not re.search(rf"\b{name}\b", str(self._holder.chat_template)):
            return None
        return self._tried([self._turn("user", "Hello")], variables={name: value})

    def _turn(self, role: str, text: str) -> Turn:
        return {"role": role, "content": self._content(role, text) if text else ""}

    def _tried(self, turns: Sequence[Turn], **options: Any) -> str | None:
        try:
            return self.render(turns, **options)
        except Exception:  # it doesn't take that
            return None
