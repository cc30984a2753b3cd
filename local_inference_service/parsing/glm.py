"""GLM 4.5 and later: <arg_key> and <arg_value> tags."""

from __future__ import annotations

import re

from local_inference_service.parsing._call_rules import LINE_BREAK, CallRules, call_rules
from local_inference_service.parsing._json_calls import read_broken
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tag_grammar import Allowed, argument_rules, bare_value
from local_inference_service.parsing._tagged import THINK, not_a_call, tagged_answer
from local_inference_service.parsing._typed_values import TypedArguments
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family, Schema
from local_inference_service.parsing.parser import AnswerParser, Parser

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_KEY = "<arg_key>"
_END_KEY = "</arg_key>"
_VALUE = "<arg_value>"
_END_VALUE = "</arg_value>"

_NAME = re.compile(r"[^\s<>]*")
_KEY_NAME = re.compile(r"[^<>]*")
_VALUE_ENDS = Marks(
    Mark(_END_VALUE, then=(_KEY, _CLOSE)),
    Mark(_CLOSE, then=(_OPEN,), or_end=True),  # where the value wasn't closed
)
_ENDS = Marks(_CLOSE, _OPEN)


def _parser(context: Context) -> Parser:
    def read_calls(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
        while mark == _OPEN:
            mark = yield from _read_call(reader, writer, context)

    answer = tagged_answer(context, [THINK], [_OPEN], [_OPEN], read_calls)
    return AnswerParser(answer, Writer(separators=" \t\r\n", frame="\r\n"))


def _read_call(reader: Reader, writer: Writer, context: Context) -> Steps[str]:
    """Read a call. Returns the mark that ended it."""
    reader.keep(_OPEN)
    name = yield from reader.run(_NAME)
    yield from reader.space()
    if writer.in_reasoning and name not in context.tools:
        name = ""  # a thought about calls
    if not name or not (yield from reader.sees(_KEY, _CLOSE)):
        yield from not_a_call(reader, writer, _OPEN)
        return ""
    reader.kept()
    writer.start_call(name)
    arguments = TypedArguments(writer, context.tools.get(name))
    while (yield from reader.accept(_KEY)):
        key = yield from reader.run(_KEY_NAME)
        if not arguments.takes(key) or not (yield from reader.accept(_END_KEY)):
            break
        yield from reader.space()
        if not (yield from reader.accept(_VALUE)):
            break
        value = arguments.value(key)
        mark = yield from reader.upto(_VALUE_ENDS, value.add)
        if not mark:
            break
        value.end()
        if mark == _CLOSE:
            arguments.end(True)
            return mark
        yield from reader.space()
    else:
        if (yield from reader.accept(_CLOSE)):
            arguments.end(True)
            return _CLOSE
    return (yield from read_broken(reader, writer, _ENDS))


def _calls(grammar: CallGrammar) -> str:
    """Line breaks between the tags are the model's choice: versions differ in them."""

    def call(rules: CallRules, name: str, schema: Schema) -> str:
        def write(key: str, value: Allowed) -> str:
            term = bare_value(rules, value, _END_VALUE, (_END_VALUE, _CLOSE))
            head = rules.literal(_KEY + key + _END_KEY)
            return f"{head} {LINE_BREAK} {rules.literal(_VALUE)} {term} {LINE_BREAK}"

        arguments = argument_rules(rules, name, schema, write)
        head = f"{LINE_BREAK} {rules.literal(_OPEN + name)} {LINE_BREAK}"
        return f"{head} {arguments} {rules.literal(_CLOSE)}"

    return call_rules(grammar, call)


FAMILY = Family(
    name="glm",
    markers=frozenset({_OPEN, _CLOSE, _KEY, _END_KEY, _VALUE, _END_VALUE, THINK.begin, THINK.end}),
    parser=_parser,
    calls=_calls,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
