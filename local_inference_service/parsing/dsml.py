"""DeepSeek V3.2 and later: calls in DSML, a markup with <｜DSML｜...> tags."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_inference_service.parsing._call_rules import LINE_BREAK, CallRules, any_call
from local_inference_service.parsing._json_calls import read_broken
from local_inference_service.parsing._marks import Mark, Marks
from local_inference_service.parsing._reader import Reader, Steps
from local_inference_service.parsing._tag_grammar import Allowed, argument_rules
from local_inference_service.parsing._tagged import THINK, not_a_call, tagged_answer
from local_inference_service.parsing._typed_values import NO_STRING, TypedArguments
from local_inference_service.parsing._writer import Writer
from local_inference_service.parsing.family import CallGrammar, Context, Family, Schema
from local_inference_service.parsing.parser import AnswerParser, Parser

_NAME = re.compile(r'[^"<>\n]*')
_STRING = frozenset({"string"})


@dataclass(frozen=True)
class _Tags:
    """The tags of one version.

    Attributes:
        prefix: what their names begin with.
        section: the name of the one around all calls.
    """

    prefix: str
    section: str

    @property
    def open(self) -> str:
        return f"<{self.prefix}{self.section}>"

    @property
    def close(self) -> str:
        return f"</{self.prefix}{self.section}>"

    @property
    def invoke(self) -> str:
        return f"<{self.prefix}invoke"

    @property
    def end_invoke(self) -> str:
        return f"</{self.prefix}invoke>"

    @property
    def parameter(self) -> str:
        return f"<{self.prefix}parameter"

    @property
    def end_parameter(self) -> str:
        return f"</{self.prefix}parameter>"


_VERSIONS = {
    tags.open: tags
    for tags in (
        _Tags("｜DSML｜", "function_calls"),  # 3.2
        _Tags("｜DSML｜", "tool_calls"),  # 4
        _Tags("｜DSML｜ ", "calls"),  # 4.1
    )
}


def _parser(context: Context) -> Parser:
    def read_section(reader: Reader, writer: Writer, mark: str) -> Steps[None]:
        return _read_section(reader, writer, mark, context)

    in_thought = [Mark(tags.open, then=(tags.invoke,)) for tags in _VERSIONS.values()]
    answer = tagged_answer(context, [THINK], [*_VERSIONS], in_thought, read_section)
    return AnswerParser(answer, Writer(separators="\r\n", frame="\r\n"))


def _read_section(reader: Reader, writer: Writer, mark: str, context: Context) -> Steps[None]:
    tags = _VERSIONS[mark]
    reader.keep(mark)
    while True:
        yield from reader.space()
        name = yield from _read_name(reader, tags)
        if not name:
            break
        reader.kept()
        writer.start_call(name)
        yield from _read_arguments(
            reader, writer, TypedArguments(writer, context.tools.get(name)), tags
        )
        mark = ""
        yield from reader.space()
        reader.keep()
    if (yield from reader.accept(tags.close)):
        reader.kept()
    else:
        yield from not_a_call(reader, writer, mark)


def _read_name(reader: Reader, tags: _Tags) -> Steps[str]:
    """Read up to a call's name; empty if there is no call."""
    if not (yield from reader.accept(f'{tags.invoke} name="')):
        return ""
    name = yield from reader.run(_NAME)
    closed = yield from reader.accept('"')
    return name if closed and (yield from reader.sees(">", "/>")) else ""


def _read_arguments(
    reader: Reader, writer: Writer, arguments: TypedArguments, tags: _Tags
) -> Steps[None]:
    """Read the parameters and end the call."""
    if (yield from reader.accept("/>")):
        arguments.end(True)
        return
    yield from reader.accept(">")
    ends = Marks(Mark(tags.end_parameter, then=(tags.parameter, tags.end_invoke)))
    while True:
        yield from reader.space()
        if not (yield from reader.accept(f'{tags.parameter} name="')):
            break
        key = yield from reader.run(_NAME)
        if not arguments.takes(key) or not (yield from reader.accept('" string="')):
            break
        is_string = yield from reader.accept("true")
        if not is_string and not (yield from reader.accept("false")):
            break
        if not (yield from reader.accept('">')):
            break
        value = arguments.value(key, _STRING if is_string else NO_STRING)
        if not (yield from reader.upto(ends, value.add)):
            break
        value.end()
    if (yield from reader.accept(tags.end_invoke)):
        arguments.end(True)
    else:
        yield from read_broken(reader, writer, Marks(tags.end_invoke))


def _calls(grammar: CallGrammar) -> str:
    """Which version's tags to write is the model's choice."""
    rules = CallRules(grammar)
    sections = [rules.rule(_section(rules, grammar, tags)) for tags in _VERSIONS.values()]
    return rules.text(f'("\\n\\n")? ({" | ".join(sections)})')


def _section(rules: CallRules, grammar: CallGrammar, tags: _Tags) -> str:
    def call(rules: CallRules, name: str, schema: Schema) -> str:
        def write(key: str, value: Allowed) -> str:
            return _parameter(rules, tags, key, value)

        head = rules.literal(f'{tags.invoke} name="{name}">\n')
        end = rules.literal(f"{tags.end_invoke}\n")
        arguments = argument_rules(rules, name, schema, write)
        return f"{head} {arguments} {LINE_BREAK} {end}"

    one = any_call(rules, grammar, call)
    many = f"{one}+" if grammar.parallel else one
    begin = rules.literal(tags.open + "\n")
    return f"{begin} {many} {rules.literal(tags.close)}"


def _parameter(rules: CallRules, tags: _Tags, key: str, value: Allowed) -> str:
    head, end = f'{tags.parameter} name="{key}" string=', f"{tags.end_parameter}\n"
    string, other = rules.literal(head + '"true">'), rules.literal(head + '"false">')
    forms = []
    if value.strings is not None:
        forms.append(f"{string} {rules.one_of(value.strings, end)}")
    elif value.takes_string:
        forms.append(f"{string} {rules.free_text(end, (tags.end_parameter,), value.size)}")
    if value.other is not None:
        forms.append(f"{other} {rules.json(value.other)} {rules.literal(end)}")
    return " | ".join(forms)


FAMILY = Family(
    name="dsml",
    markers=frozenset({"｜DSML｜", THINK.begin, THINK.end}),
    parser=_parser,
    calls=_calls,
    thought_marks=THINK.marks,
    thinks=THINK.marks,
)
