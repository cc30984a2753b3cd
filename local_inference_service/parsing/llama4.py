"""Llama 4: a list of calls as Python writes them, or JSON as Llama 3 writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from local_inference_service.parsing import llama3
from local_inference_service.parsing._pythonic import read_python_value
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import BareCalls, not_a_call, tagged_answer
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_START = "<|python_start|>"
_END = "<|python_end|>"
_NAME = re.compile(r"[\w.\-]*")
_KEY = re.compile(r"\w*")


def _parser(context: Context) -> Parser:
    def read_bare(reader: Reader, writer: Writer) -> Steps[None]:
        return _read_calls(reader, writer, "", context.tools)

    bare = BareCalls(("[", "{"), read_bare)
    answer = tagged_answer(context, [], [_START], [], _read_tagged, bare)
    return AnswerParser(answer, Writer())


def _read_tagged(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    reader.keep(mark)
    yield from reader.space()
    yield from _read_calls(reader, writer, mark, None)
    yield from reader.space()
    yield from reader.accept(_END)


def _read_calls(
    reader: Reader, writer: Writer, mark: str, names: Collection[str] | None
) -> Steps[None]:
    if (yield from reader.sees("{")):
        yield from llama3.read_calls(reader, writer, mark, names)
    else:
        yield from _read_list(reader, writer, mark, names)


def _read_list(
    reader: Reader, writer: Writer, mark: str, names: Collection[str] | None
) -> Steps[None]:
    """Read a list of calls. They are certain once the list is closed, and are given then.

    Args:
        reader: stands before the list.
        writer: gets the calls.
        mark: what stood before the list, kept by the reader; empty: nothing.
        names: of tools, one of which each call must name; None: any.
    """
    calls: list[tuple[str, str]] = []
    whole = yield from reader.accept("[")
    while whole:
        yield from reader.space()
        name = yield from reader.run(_NAME)
        whole = bool(name) and (names is None or name in names)
        if not whole or not (yield from reader.accept("(")):
            whole = False
            break
        pieces: list[str] = []
        whole = yield from _read_arguments(reader, pieces)
        calls.append((name, "".join(pieces)))
        yield from reader.space()
        if not whole or not (yield from reader.accept(",")):
            break
    if not whole or not (yield from reader.accept("]")):
        yield from not_a_call(reader, writer, mark)
        return
    reader.kept()
    for name, arguments in calls:
        writer.start_call(name)
        writer.arguments(arguments)
        writer.end_call(True)


def _read_arguments(reader: Reader, pieces: list[str]) -> Steps[bool]:
    """Read arguments up to the parenthesis. Returns whether they were whole and well formed."""
    keys: set[str] = set()
    pieces.append("{")
    while True:
        yield from reader.space()
        if (yield from reader.accept(")")):
            pieces.append("}")
            return True
        if keys and not (yield from reader.accept(",")):
            return False
        yield from reader.space()
        key = yield from reader.run(_KEY)
        yield from reader.space()
        if not key or key in keys or not (yield from reader.accept("=")):
            return False
        pieces.append(("," if keys else "") + json.dumps(key, ensure_ascii=False) + ":")
        keys.add(key)
        yield from reader.space()
        if not (yield from read_python_value(reader, pieces.append)):
            return False


FAMILY = Family(
    name="llama4", markers=frozenset({_START, _END}), parser=_parser, calls=llama3.calls
)
