"""Mistral: [TOOL_CALLS] with a list of JSON objects, or with a name and [ARGS]."""

from __future__ import annotations

import re

from local_inference_service.parsing._call_rules import json_call_rules
from local_inference_service.parsing._json_calls import (
    read_broken,
    read_json_arguments,
    read_json_call,
)
from local_inference_service.parsing._marks import Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import THINK, Thought, not_a_call, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_CALLS = "[TOOL_CALLS]"
_CALL_ID = "[CALL_ID]"
_ARGUMENTS = "[ARGS]"
_THINK = Thought("[THINK]", "[/THINK]")

_NAME = re.compile(r"[^\s\[\]{]*")
_ENDS = Marks(_CALLS)


def _parser(context: Context) -> Parser:
    thoughts = [_THINK, THINK]
    answer = tagged_answer(context, thoughts, [_CALLS], [], _read_calls)
    return AnswerParser(answer, Writer())


def _read_calls(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    while mark == _CALLS:
        reader.keep(mark)
        yield from reader.space()
        if (yield from reader.sees("[", "{")):
            mark = yield from _read_list(reader, writer)
        else:
            mark = yield from _read_call(reader, writer)


def _read_list(reader: Reader, writer: Writer) -> Steps[str]:
    """Read calls as JSON objects. Returns the mark that ended them, if one did."""
    mark = _CALLS
    yield from reader.accept("[")
    while True:
        yield from reader.space()
        complete = yield from read_json_call(reader, writer)
        if complete is None:
            break
        if not complete:
            return (yield from read_broken(reader, writer, _ENDS))
        writer.end_call(True)
        mark = ""
        yield from reader.space()
        if not (yield from reader.accept(",")):
            yield from reader.accept("]")
            return ""
        reader.keep()
    yield from not_a_call(reader, writer, mark)
    return ""


def _read_call(reader: Reader, writer: Writer) -> Steps[str]:
    """Read a name and arguments. Returns the mark that ended the call, if one did."""
    name = yield from reader.run(_NAME)
    call_id = ""
    if (yield from reader.accept(_CALL_ID)):
        call_id = yield from reader.run(_NAME)
    marked = yield from reader.accept(_ARGUMENTS)
    if not name or not (marked or (yield from reader.sees("{"))):
        yield from not_a_call(reader, writer, _CALLS)
        return ""
    reader.kept()
    writer.start_call(name, call_id)
    if (yield from read_json_arguments(reader, writer)):
        writer.end_call(True)
        return ""
    return (yield from read_broken(reader, writer, _ENDS))


def _calls(grammar: CallGrammar) -> str:
    if grammar.literal(_ARGUMENTS).startswith("<"):  # a token of its own: version 11 or later
        return json_call_rules(grammar, f"{_CALLS}NAME{_ARGUMENTS}", "")
    head = '{"name": "NAME", "arguments": '
    return json_call_rules(grammar, head, "}", f"{_CALLS} [", ", ", "]")


FAMILY = Family(
    name="mistral",
    markers=frozenset(
        {_CALLS, _CALL_ID, _ARGUMENTS, _THINK.begin, _THINK.end, THINK.begin, THINK.end}
    ),
    parser=_parser,
    calls=_calls,
    thought_marks=_THINK.marks,
    thinks=(*_THINK.marks, *THINK.marks),
)
