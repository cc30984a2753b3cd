"""Llama 3.1 to 3.3: a call is an answer of JSON, with <|python_tag|> before it or without."""

from __future__ import annotations

from collections.abc import Collection

from local_inference_service.parsing._call_rules import json_call_rules
from local_inference_service.parsing._json_calls import read_broken, read_json_call
from local_inference_service.parsing._marks import Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import BareCalls, not_a_call, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_TAG = "<|python_tag|>"
_ENDS = Marks(_TAG)


def _parser(context: Context) -> Parser:
    def read_bare(reader: Reader, writer: Writer) -> Steps[None]:
        mark = yield from read_calls(reader, writer, "", context.tools)
        yield from _read_tagged(reader, writer, mark)

    bare = BareCalls(("{",), read_bare)
    answer = tagged_answer(context, [], [_TAG], [], _read_tagged, bare)
    return AnswerParser(answer, Writer())


def _read_tagged(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    while mark == _TAG:
        reader.keep(mark)
        yield from reader.space()
        mark = yield from read_calls(reader, writer, mark, None)


def read_calls(
    reader: Reader, writer: Writer, mark: str, names: Collection[str] | None
) -> Steps[str]:
    """Read calls, one after another.

    Args:
        reader: stands before the first.
        writer: gets them.
        mark: what stood before it, kept by the reader; empty: nothing.
        names: of tools, one of which each call must name; None: any.

    Returns:
        The mark that ended a malformed call; empty if none did.
    """
    while True:
        complete = yield from read_json_call(reader, writer, names)
        if complete is None:
            yield from not_a_call(reader, writer, mark)
            return ""
        if not complete:
            return (yield from read_broken(reader, writer, _ENDS))
        writer.end_call(True)
        mark = ""
        reader.keep()
        yield from reader.space()
        if (yield from reader.accept(";")):
            yield from reader.space()


def calls(grammar: CallGrammar) -> str:
    """The rules for calls, without a mark before them."""
    return json_call_rules(grammar, '{"name": "NAME", "parameters": ', "}", separator="; ")


FAMILY = Family(name="llama3", markers=frozenset({_TAG}), parser=_parser, calls=calls)
