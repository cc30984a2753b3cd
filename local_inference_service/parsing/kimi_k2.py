"""Kimi K2: calls between special tokens; a call's id holds the tool's name."""

from __future__ import annotations

import re

from local_inference_service.parsing._call_rules import CallRules, call_rules
from local_inference_service.parsing._json_calls import read_broken, read_json_arguments
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import THINK, not_a_call, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family, Schema
from local_inference_service.parsing.parser import AnswerParser, Parser

_SECTION = "<|tool_calls_section_begin|>"
_END_SECTION = "<|tool_calls_section_end|>"
_CALL = "<|tool_call_begin|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_END_CALL = "<|tool_call_end|>"

_ID = re.compile(r"(?:functions\.)?(?P<name>[^\s<>]+?)(?::[0-9]+)?")
_IN_SECTION = Marks(_CALL, _END_SECTION)
_HEAD_ENDS = Marks(_ARGUMENTS, _END_CALL, _END_SECTION)
_ENDS = Marks(_END_CALL, _END_SECTION)


def _parser(context: Context) -> Parser:
    in_thought = Mark(_SECTION, then=(_CALL,))
    answer = tagged_answer(context, [THINK], [_SECTION], [in_thought], _read_section)
    return AnswerParser(answer, Writer())


def _read_section(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    """Read calls. What else stands in a section is no part of the answer."""
    while mark and mark != _END_SECTION:
        mark = yield from reader.upto(_IN_SECTION, lambda _: None)
        if mark == _CALL:
            mark = yield from _read_call(reader, writer)


def _read_call(reader: Reader, writer: Writer) -> Steps[str]:
    """Read a call. Returns the mark that ended it."""
    reader.keep(_CALL)
    head: list[str] = []
    mark = yield from reader.upto(_HEAD_ENDS, head.append)
    call_id = "".join(head).strip()
    found = _ID.fullmatch(call_id)
    if mark != _ARGUMENTS or found is None:
        yield from not_a_call(reader, writer, _CALL)
        return mark
    reader.kept()
    writer.start_call(found["name"], call_id)
    if (yield from read_json_arguments(reader, writer, _END_CALL)):
        writer.end_call(True)
        return mark
    return (yield from read_broken(reader, writer, _ENDS))


def _calls(grammar: CallGrammar) -> str:
    def call(rules: CallRules, name: str, schema: Schema) -> str:
        head = rules.literal(f"{_CALL}functions.{name}:")
        index = rules.token("/[0-9]{1,3}/")
        arguments = f"{rules.literal(_ARGUMENTS)} {rules.json(schema)} {rules.literal(_END_CALL)}"
        return f"{head} {index} {arguments}"

    return call_rules(grammar, call, begin=_SECTION, end=_END_SECTION)


FAMILY = Family(
    name="kimi_k2",
    markers=frozenset(
        {_SECTION, _END_SECTION, _CALL, _ARGUMENTS, _END_CALL, THINK.begin, THINK.end}
    ),
    parser=_parser,
    calls=_calls,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
