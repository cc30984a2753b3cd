"""Hermes, Qwen 2.5 and 3, and others: JSON within <tool_call> tags."""

from __future__ import annotations

from local_inference_service.parsing._call_rules import json_call_rules
from local_inference_service.parsing._json_calls import read_broken, read_json_call
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import THINK, BareCalls, not_a_call, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_ENDS = Marks(_CLOSE, _OPEN)
_FENCE = "```json"
_END_FENCE = "```"


def _parser(context: Context) -> Parser:
    def read_bare(reader: Reader, writer: Writer) -> Steps[None]:
        return _read_bare_call(reader, writer, context)

    answer = tagged_answer(
        context,
        [THINK],
        [_OPEN],
        [Mark(_OPEN, then=("{",))],
        _read_calls,
        BareCalls(("{", _FENCE), read_bare),
    )
    return AnswerParser(answer, Writer(separators=" \t\r\n", frame="\r\n"))


def _read_bare_call(reader: Reader, writer: Writer, context: Context) -> Steps[None]:
    """Read a call whose tag was left out, or is a code fence, as small models do."""
    fenced = yield from reader.accept(_FENCE)
    yield from reader.space()
    complete = yield from read_json_call(reader, writer, context.tools)
    if complete is None:
        yield from not_a_call(reader, writer, _FENCE if fenced else "")
    elif complete:
        writer.end_call(True)
        space = yield from reader.space()
        if not (yield from reader.accept(_END_FENCE if fenced else _CLOSE)):
            writer.text(space)
    else:
        mark = yield from read_broken(reader, writer, _ENDS)
        yield from _read_calls(reader, writer, mark)


def _read_calls(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    """Read what stands within tags: an object, or several in a row."""
    while mark == _OPEN:
        reader.keep(mark)
        yield from reader.space()
        complete = yield from read_json_call(reader, writer)
        if complete is None:
            yield from not_a_call(reader, writer, mark)
            return
        while complete:
            writer.end_call(True)
            yield from reader.space()
            reader.keep()
            complete = yield from read_json_call(reader, writer)
        if complete is None:
            writer.text(reader.kept())
            mark = yield from reader.upto(_ENDS, writer.text)
        else:
            mark = yield from read_broken(reader, writer, _ENDS)


def _calls(grammar: CallGrammar) -> str:
    head = f'{_OPEN}\n{{"name": "NAME", "arguments": '
    return json_call_rules(grammar, head, f"}}\n{_CLOSE}", separator="\n")


FAMILY = Family(
    name="hermes",
    markers=frozenset({_OPEN, _CLOSE, THINK.begin, THINK.end}),
    parser=_parser,
    calls=_calls,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
