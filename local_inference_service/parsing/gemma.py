"""Gemma 4: calls in an object notation of its own, thoughts in a channel.

JSON is read as well in the place of the notation.
"""

from __future__ import annotations

import json
import re

from local_inference_service.parsing._call_rules import json_call_rules
from local_inference_service.parsing._json_calls import read_broken
from local_inference_service.parsing._json_scanner import JsonScanner, escaped
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tagged import Thought, not_a_call, tagged_answer
from local_inference_service.parsing._typed_values import NO_STRING, to_json
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import AnswerParser, Parser

_OPEN = "<|tool_call>"
_CLOSE = "<tool_call|>"
_CALL = "call:"
_QUOTE = '<|"|>'
_THOUGHT = Thought("<|channel>thought\n", "<channel|>")

_MAX_DEPTH = 64
_NAME = re.compile(r"[^\s{}<>]*")
_KEY = re.compile(r"[^:{}\[\]<>,]*")
_WORD = re.compile(r"[^,{}\[\]<>]*")
_STRING_ENDS = Marks(_QUOTE)
_ENDS = Marks(_CLOSE, _OPEN)


def _parser(context: Context) -> Parser:
    in_thought = Mark(_OPEN, then=(_CALL,))
    answer = tagged_answer(context, [_THOUGHT], [_OPEN], [in_thought], _read_calls)
    return AnswerParser(answer, Writer(frame="\n"))


def _read_calls(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    while mark == _OPEN:
        mark = yield from _read_call(reader, writer)


def _read_call(reader: Reader, writer: Writer) -> Steps[str]:
    """Read a call. Returns the mark that ended it."""
    reader.keep(_OPEN)
    name = ""
    if (yield from reader.accept(_CALL)):
        name = yield from reader.run(_NAME)
    if not name or not (yield from reader.sees("{")):
        yield from not_a_call(reader, writer, _OPEN)
        return ""
    reader.kept()
    writer.start_call(name)
    if not (yield from _read_value(reader, writer, 0)):
        return (yield from read_broken(reader, writer, _ENDS))
    writer.end_call(True)
    yield from reader.accept(_CLOSE)
    return ""


def _read_value(reader: Reader, writer: Writer, depth: int) -> Steps[bool]:
    """Read a value. Returns whether it was whole and well formed."""
    if (yield from reader.sees("{", "[")) and depth < _MAX_DEPTH:
        char = yield from reader.take()
        writer.arguments(char)
        return (yield from _read_items(reader, writer, depth, char == "{"))
    if (yield from reader.accept(_QUOTE)):
        writer.arguments('"')
        mark = yield from reader.upto(_STRING_ENDS, lambda text: writer.arguments(escaped(text)))
        writer.arguments('"' if mark else "")
        return bool(mark)
    if (yield from reader.sees('"')):
        return (yield from reader.through(JsonScanner('"'), writer.arguments))
    word = (yield from reader.run(_WORD)).strip()
    if word:
        writer.arguments(to_json(word, NO_STRING))
    return bool(word)


def _read_items(reader: Reader, writer: Writer, depth: int, keyed: bool) -> Steps[bool]:
    """Read the items of an object or array up to its end."""
    end = "}" if keyed else "]"
    keys: set[str] = set()
    comma = ""
    while True:
        yield from reader.space()
        if (yield from reader.accept(end)):
            writer.arguments(end)
            return True
        if comma and not (yield from reader.accept(comma)):
            return False
        yield from reader.space()
        writer.arguments(comma)
        comma = ","
        if keyed:
            key = yield from _read_key(reader)
            if not key or key in keys:
                return False
            keys.add(key)
            writer.arguments(json.dumps(key, ensure_ascii=False) + ":")
            yield from reader.space()
        if not (yield from _read_value(reader, writer, depth + 1)):
            return False


def _read_key(reader: Reader) -> Steps[str]:
    """Read a key and its colon; empty if there is none."""
    pieces: list[str] = []
    if (yield from reader.accept(_QUOTE)):
        yield from reader.upto(_STRING_ENDS, pieces.append)
        key = "".join(pieces)
    elif (yield from reader.sees('"')):
        whole = yield from reader.through(JsonScanner('"'), pieces.append)
        key = json.loads("".join(pieces)) if whole else ""
        yield from reader.space()
    else:
        key = (yield from reader.run(_KEY)).strip()
    return key if (yield from reader.accept(":")) else ""


def _calls(grammar: CallGrammar) -> str:
    """Arguments are forced as JSON, which the models know as well and a schema can bind."""
    return json_call_rules(grammar, f"{_OPEN}{_CALL}NAME", _CLOSE)


FAMILY = Family(
    name="gemma",
    markers=frozenset({_OPEN, _CLOSE, _QUOTE, "<|channel>", _THOUGHT.end}),
    parser=_parser,
    calls=_calls,
    thought_marks=_THOUGHT.marks,
    thinks=("<|channel>",),
)
