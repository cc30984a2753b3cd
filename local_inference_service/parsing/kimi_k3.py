"""Kimi K3: an answer of elements, whose tags are made of special tokens."""

from __future__ import annotations

import re

from local_inference_service.parsing._call_rules import CallRules, any_call, as_object
from local_inference_service.parsing._json_calls import read_broken, read_json_arguments
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._schema_types import types_of
from local_inference_service.parsing._tagged import Thought, not_a_call, tagged_answer
from local_inference_service.parsing._typed_values import TypedArguments
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family, Schema
from local_inference_service.parsing.parser import AnswerParser, Parser


def _open(tag: str) -> str:
    return f"<|open|>{tag}<|sep|>"


def _close(tag: str) -> str:
    return f"<|close|>{tag}<|sep|>"


_THOUGHT = Thought(_open("think"), _close("think"))
_TOOLS = _open("tools")
_CALL = "<|open|>call "
_ARGUMENT = "<|open|>argument "
_JSON = "<|open|>json "  # all arguments at once
_FRAME = (_open("response"), _close("response"), _close("tools"), _close("message"))
_IN_THOUGHT = (_open("response"), Mark(_TOOLS, then=(_CALL,)))

_ATTRIBUTES = re.compile(r"[^<>]*")
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
_VALUE_ENDS = Marks(Mark(_close("argument"), then=(_ARGUMENT, _close("call"))))
_ENDS = Marks(_close("call"), _close("tools"))


def _parser(context: Context) -> Parser:
    marks = [_TOOLS, *_FRAME]
    answer = tagged_answer(context, [_THOUGHT], marks, _IN_THOUGHT, _read_element, always=True)
    return AnswerParser(answer, Writer())


def _read_element(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
    """Read what a mark begins: the calls, or the answer itself."""
    if mark != _TOOLS:
        writer.end_thought()
        return
    reader.keep(mark)
    while (yield from reader.accept(_CALL)):
        attributes = yield from _read_attributes(reader)
        if not attributes.get("tool"):
            break
        reader.kept()
        writer.start_call(attributes["tool"])
        yield from _read_arguments(reader, writer, TypedArguments(writer, None))
        mark = ""
        reader.keep()
    if (yield from reader.accept(_close("tools"))):
        reader.kept()
    else:
        yield from not_a_call(reader, writer, mark)


def _read_attributes(reader: Reader) -> Steps[dict[str, str]]:
    """Read a tag's attributes and its end; none if it doesn't end."""
    text = yield from reader.run(_ATTRIBUTES)
    if not (yield from reader.accept("<|sep|>")):
        return {}
    return {
        name: value.replace("&quot;", '"').replace("&amp;", "&")
        for name, value in _ATTRIBUTE.findall(text)
    }


def _read_arguments(reader: Reader, writer: Writer, arguments: TypedArguments) -> Steps[None]:
    """Read the arguments and end the call."""
    if (yield from reader.accept(_JSON)):
        yield from _read_attributes(reader)
        complete = yield from read_json_arguments(reader, writer, _close("json"))
        if complete and (yield from reader.accept(_close("json") + _close("call"))):
            writer.end_call(True)
        else:
            yield from read_broken(reader, writer, _ENDS)
        return
    while (yield from reader.accept(_ARGUMENT)):
        attributes = yield from _read_attributes(reader)
        key, kind = attributes.get("key", ""), attributes.get("type", "string")
        if not arguments.takes(key):
            break
        value = arguments.value(key, types_of({"type": kind}, None))
        if not (yield from reader.upto(_VALUE_ENDS, value.add)):
            break
        value.end()
    if (yield from reader.accept(_close("call"))):
        arguments.end(True)
    else:
        yield from read_broken(reader, writer, _ENDS)


def _calls(grammar: CallGrammar) -> str:
    """The response may be closed first, or left out where the thought ended."""
    rules = CallRules(grammar)

    def call(rules: CallRules, name: str, schema: Schema) -> str:
        head = rules.literal(f'{_CALL}tool="{name}" index="')
        index = rules.token("/[0-9]{1,3}/")
        begin = rules.literal('"<|sep|>' + _JSON + 'type="object"<|sep|>')
        end = rules.literal(_close("json") + _close("call"))
        return f"{head} {index} {begin} {rules.json(as_object(schema))} {end}"

    one = any_call(rules, grammar, call)
    many = f"{one}+" if grammar.parallel else one
    opened, closed = rules.literal(_open("response")), rules.literal(_close("response"))
    tools, end = rules.literal(_TOOLS), rules.literal(_close("tools"))
    return rules.text(f"({opened})? ({closed})? {tools} {many} {end}")


FAMILY = Family(
    name="kimi_k3",
    markers=frozenset({"<|open|>", "<|close|>", "<|sep|>"}),
    parser=_parser,
    calls=_calls,
    thought_marks=_THOUGHT.marks,
    answer_marks=(_open("response"), _close("response")),
    thinks=("think",),
)
