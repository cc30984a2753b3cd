"""Qwen3-Coder, Qwen 3.5 and later: <function=...> and <parameter=...> tags."""

from __future__ import annotations

import re

from local_inference_service.parsing._call_rules import CallRules, call_rules
from local_inference_service.parsing._json_calls import read_broken
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tag_grammar import Allowed, argument_rules, bare_value
from local_inference_service.parsing._tagged import THINK, not_a_call, tagged_answer
from local_inference_service.parsing._typed_values import TypedArguments, TypedValue
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family, Schema
from local_inference_service.parsing.parser import AnswerParser, Parser

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_FUNCTION = "<function="
_END_FUNCTION = "</function>"
_PARAMETER = "<parameter="
_END_PARAMETER = "</parameter>"

_NAME = re.compile(r"[^<>\n]*")
_AFTER_VALUE = (_PARAMETER, _END_FUNCTION, _CLOSE)
_NEXT = "\n" + _PARAMETER  # where the value before wasn't closed
_VALUE_ENDS = Marks(
    Mark("\n" + _END_PARAMETER, then=_AFTER_VALUE),
    Mark(_END_PARAMETER, then=_AFTER_VALUE),
    Mark("\n" + _END_FUNCTION, then=(_CLOSE,), or_end=True),
    Mark(_END_FUNCTION, then=(_CLOSE,)),
    _NEXT,
)
_ENDS = Marks(_END_FUNCTION, _CLOSE, _OPEN)


def _parser(context: Context) -> Parser:
    def read_calls(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
        while mark in (_OPEN, _FUNCTION):
            mark = yield from _read_call(reader, writer, mark, context)

    answer = tagged_answer(
        context,
        [THINK],
        [_OPEN, _FUNCTION],
        [Mark(_OPEN, then=(_FUNCTION,))],
        read_calls,
    )
    return AnswerParser(answer, Writer(separators=" \t\r\n", frame="\r\n"))


def _read_call(reader: Reader, writer: Writer, mark: str, context: Context) -> Steps[str]:
    """Read a call. Models leave the outer tags out now and then.

    Returns:
        The mark of a next call, if it came before this one was closed.
    """
    reader.keep(mark)
    name = yield from _read_name(reader, mark, context)
    if not name:
        yield from not_a_call(reader, writer, mark)
        return ""
    reader.kept()
    writer.start_call(name)
    mark = yield from _read_arguments(
        reader, writer, TypedArguments(writer, context.tools.get(name))
    )
    if mark != _END_FUNCTION:
        return mark
    space = yield from reader.space()
    if not (yield from reader.accept(_CLOSE)):
        writer.text(space)
    return ""


def _read_name(reader: Reader, mark: str, context: Context) -> Steps[str]:
    """Read up to the parameters; empty if this is no call."""
    if mark == _OPEN:
        yield from reader.space()
        if not (yield from reader.accept(_FUNCTION)):
            return ""
    name = yield from reader.run(_NAME)
    if not (yield from reader.accept(">")):
        return ""
    if mark == _FUNCTION:  # a text may just speak of the tag
        yield from reader.space()
        if name not in context.tools or not (yield from reader.sees(_PARAMETER, _END_FUNCTION)):
            return ""
    return name


def _read_arguments(reader: Reader, writer: Writer, arguments: TypedArguments) -> Steps[str]:
    """Read the parameters and end the call. Returns the mark that ended it."""
    mark = ""
    while True:
        if mark != _NEXT:
            yield from reader.space()
            if not (yield from reader.accept(_PARAMETER)):
                break
            key = yield from reader.run(_NAME)
            if not arguments.takes(key) or not (yield from reader.accept(">")):
                break
        yield from reader.accept("\n")
        mark, key = yield from _read_value(reader, arguments, arguments.value(key))
        if not mark:
            break
        if mark.endswith(_END_FUNCTION):
            arguments.end(True)
            return _END_FUNCTION
    for end in (_END_FUNCTION, _CLOSE):
        if (yield from reader.accept(end)):
            arguments.end(True)
            return end
    return (yield from read_broken(reader, writer, _ENDS))


def _read_value(
    reader: Reader, arguments: TypedArguments, value: TypedValue
) -> Steps[tuple[str, str]]:
    """Read a value and what ends it. Returns that mark, and the key of a parameter it begins."""
    while True:
        mark = yield from reader.upto(_VALUE_ENDS, value.add)
        if mark != _NEXT:
            if mark:
                value.end()
            return mark, ""
        key = yield from reader.run(_NAME)
        if arguments.awaits(key) and (yield from reader.accept(">")):
            value.end()
            return mark, key
        value.add(mark + key)  # a value that mentions the tag


def _calls(grammar: CallGrammar) -> str:
    end_value = f"\n{_END_PARAMETER}\n"
    without = (_PARAMETER, _END_PARAMETER, _END_FUNCTION)

    def call(rules: CallRules, name: str, schema: Schema) -> str:
        def write(key: str, value: Allowed) -> str:
            head = rules.literal(f"{_PARAMETER}{key}>\n")
            return f"{head} {bare_value(rules, value, end_value, without)}"

        head = rules.literal(f"{_OPEN}\n{_FUNCTION}{name}>\n")
        end = rules.literal(f"{_END_FUNCTION}\n{_CLOSE}")
        return f"{head} {argument_rules(rules, name, schema, write)} {end}"

    return call_rules(grammar, call, separator="\n")


FAMILY = Family(
    name="qwen_xml",
    markers=frozenset({_OPEN, _CLOSE, THINK.begin, THINK.end}),
    parser=_parser,
    calls=_calls,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
