"""gpt-oss: the Harmony format, a series of messages on channels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from local_inference_service.parsing._call_rules import json_call_rules
from local_inference_service.parsing._json_calls import read_json_arguments
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_START = "<|start|>"
_CHANNEL = "<|channel|>"
_MESSAGE = "<|message|>"
_CONSTRAIN = "<|constrain|>"
_END = "<|end|>"
_STOPS = (_END, "<|call|>", "<|return|>")

_NEXT = f"{_END}{_START}assistant"  # ends a message and begins the next one
_FUNCTIONS = "functions."
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w*)")
_HEADER_ENDS = Marks(_MESSAGE, *_STOPS)
# A message that speaks of these tokens doesn't end there: after its end comes the next message.
_BODY_ENDS = Marks(*(Mark(stop, then=(_START, _CHANNEL), or_end=True) for stop in _STOPS))


@dataclass(frozen=True, slots=True)
class _Header:
    """What a message's header says.

    Attributes:
        channel: "analysis", "commentary", "final", or whatever the model wrote.
        recipient: whom the message is to; empty: the user.
    """

    channel: str
    recipient: str


def _parser(context: Context) -> Parser:
    def answer(reader: Reader, writer: Writer) -> Steps[None]:
        return _read_messages(reader, writer, context)

    return AnswerParser(answer, Writer())


def _read_messages(reader: Reader, writer: Writer, context: Context) -> Steps[None]:
    begun = context.prompt_end.rpartition(_START)[2]
    if begun.endswith(_MESSAGE):
        yield from _read_body(reader, writer, context, _header(begun))
    elif not (yield from reader.sees(_CHANNEL, _START, _CONSTRAIN, " to=", "to=")):
        # The model doesn't keep to the format: it just answers.
        yield from _read_body(reader, writer, context, _Header("final", ""))
    while (yield from reader.peek()):
        yield from reader.accept(_START)
        reader.keep()
        mark = yield from reader.upto(_HEADER_ENDS, lambda _: None)
        raw = reader.kept()
        if mark == _MESSAGE:
            yield from _read_body(reader, writer, context, _header(raw))
        elif mark or not reader.cut_off:
            writer.text(raw)


def _header(text: str) -> _Header:
    """Reads a header. Where it names several channels or recipients, the last ones count."""
    channels = _CHANNEL_NAME.findall(text)
    recipients = _RECIPIENT.findall(text)
    recipient = recipients[-1] if recipients else ""
    return _Header(channels[-1] if channels else "", "" if recipient == "assistant" else recipient)


def _read_body(reader: Reader, writer: Writer, context: Context, header: _Header) -> Steps[None]:
    """Read a message up to its end."""
    if header.recipient:
        yield from _read_call(reader, writer, context, header.recipient)
        return
    write: Callable[[str], None] = writer.text
    if header.channel == "analysis":
        writer.begin_thought()
        write = writer.reasoning
    yield from reader.upto(_BODY_ENDS, write)
    writer.end_thought()


def _read_call(reader: Reader, writer: Writer, context: Context, recipient: str) -> Steps[None]:
    """Read a message to a tool.

    Tools that are built into the format, such as python, take no JSON: nobody here can run them.
    """
    name = recipient.removeprefix(_FUNCTIONS) or recipient
    writer.start_call(name)
    complete = False
    if name != recipient or name in context.tools:
        complete = yield from read_json_arguments(reader, writer, *_STOPS)
    rest: list[str] = []
    yield from reader.upto(_BODY_ENDS, rest.append)
    if "".join(rest).strip():
        complete = False
        writer.arguments("".join(rest))
    writer.end_call(complete)


def _calls(grammar: CallGrammar) -> str:
    """One call: the end of its message ends the answer."""
    head = f"{_CHANNEL}commentary to={_FUNCTIONS}NAME {_CONSTRAIN}json{_MESSAGE}"
    return json_call_rules(replace(grammar, parallel=False), head, "")


FAMILY = Family(
    name="gpt_oss",
    markers=frozenset({_START, _CHANNEL, _MESSAGE, _CONSTRAIN, *_STOPS}),
    parser=_parser,
    calls=_calls,
    thought_marks=(f"{_CHANNEL}analysis{_MESSAGE}", _NEXT),
    answer_marks=(f"{_CHANNEL}final{_MESSAGE}", ""),
    thinks=(f"{_CHANNEL}analysis",),
)
