"""DeepSeek V3, R1 and V3.1: calls between special tokens, their arguments as JSON."""

from __future__ import annotations

import re
from dataclasses import replace

from local_inference_service.parsing._call_rules import json_call_rules
from local_inference_service.parsing._json_calls import read_broken, read_json_arguments
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import THINK, not_a_call, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_SECTION = "<｜tool▁calls▁begin｜>"
_END_SECTION = "<｜tool▁calls▁end｜>"
_CALL = "<｜tool▁call▁begin｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_END_CALL = "<｜tool▁call▁end｜>"

_TYPE = "function"  # stands before the separator in V3 and R1, with the name after it
_FENCE = "```json"
_NAME = re.compile(r"[^\n`<{]*")
_IN_SECTION = Marks(_CALL, _END_SECTION)
_HEAD_ENDS = Marks(_SEPARATOR, _END_CALL, _END_SECTION)
_ENDS = Marks(_END_CALL, _END_SECTION)


def _parser(context: Context) -> Parser:
    in_thought = Mark(_SECTION, then=(_CALL,))
    answer = tagged_answer(context, [THINK], [_SECTION], [in_thought], _read_section)
    return AnswerParser(answer, Writer(separators="\r\n", frame="\r\n"))


def _read_section(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    while mark and mark != _END_SECTION:
        between: list[str] = []
        mark = yield from reader.upto(_IN_SECTION, between.append)
        noise = "".join(between)
        if noise.strip():
            writer.prose(noise)
        if mark == _CALL:
            mark = yield from _read_call(reader, writer)


def _read_call(reader: Reader, writer: Writer) -> Steps[str]:
    """Read a call. Returns the mark that ended it."""
    reader.keep(_CALL)
    head: list[str] = []
    mark = yield from reader.upto(_HEAD_ENDS, head.append)
    name = "".join(head).strip() if mark == _SEPARATOR else ""
    if "<" in name:
        name = ""
    if name == _TYPE:
        yield from reader.space()
        if not (yield from reader.sees("{")):
            name = (yield from reader.run(_NAME)).strip()
            yield from reader.space()
            yield from reader.accept(_FENCE)
    if not name:
        yield from not_a_call(reader, writer, _CALL)
        return mark
    reader.kept()
    writer.start_call(name)
    if not (yield from read_json_arguments(reader, writer, _END_CALL)):
        return (yield from read_broken(reader, writer, _ENDS))
    writer.end_call(True)
    yield from reader.space()
    yield from reader.accept("```")
    yield from reader.accept(_END_CALL)
    return mark


def _calls(grammar: CallGrammar) -> str:
    head = f"{_CALL}{_TYPE}{_SEPARATOR}NAME\n{_FENCE}\n"
    return json_call_rules(grammar, head, f"\n```{_END_CALL}", _SECTION, "\n", _END_SECTION)


def _calls_31(grammar: CallGrammar) -> str:
    head = f"{_CALL}NAME{_SEPARATOR}"
    return json_call_rules(grammar, head, _END_CALL, begin=_SECTION, end=_END_SECTION)


FAMILY = Family(
    name="deepseek",
    markers=frozenset(
        {_SECTION, _END_SECTION, _CALL, _SEPARATOR, _END_CALL, THINK.begin, THINK.end}
    ),
    parser=_parser,
    calls=_calls,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
FAMILY_31 = replace(FAMILY, name="deepseek_v31", calls=_calls_31)
