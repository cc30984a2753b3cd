"""What a request asks for -> the grammar of its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from local_inference_service.constraints._grammar import Grammar
from local_inference_service.constraints._lark import (
    choice_term,
    json_term,
    lazy_term,
    literal,
    regex_term,
)
from local_inference_service.parsing import CallGrammar, Context, Family
from marsys.v1 import (
    GenerateRequest,
    OutputFormat,
    ToolChoice,
    ToolChoiceMode,
    ToolDefinition,
    UnsupportedPolicy,
)
from serving.errors import unsupported

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
# Of a grammar's text: strings, expressions, comments and names.
_START = re.compile(r'"(?:[^"\\]|\\.)*"|/(?![/*])(?:[^/\\\n]|\\.)*/|//[^\n]*|#[^\n]*|[\w-]+')


def is_bound(request: GenerateRequest) -> bool:
    """Whether the answer must keep to a grammar."""
    bound = request.output_format.WhichOneof("format") not in (None, "text")
    return bound or must_call(request.tool_choice)


def must_call(choice: ToolChoice) -> bool:
    """Whether a tool must be called."""
    return bool(choice.tool_name) or choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED


def may_loosen(request: GenerateRequest) -> bool:
    """Whether keywords of schemas that can't be enforced may be left out, with a warning."""
    if request.on_unsupported == UnsupportedPolicy.UNSUPPORTED_POLICY_WARN:
        return True
    if must_call(request.tool_choice):
        return not any(tool.strict for tool in request.tools)
    schema = request.output_format.json_schema
    return schema.HasField("strict") and not schema.strict


def grammar_of(
    request: GenerateRequest,
    family: Family,
    context: Context,
    tools: Sequence[ToolDefinition],
    parallel: bool,
    special: Mapping[str, int],
    lenient: bool,
) -> Grammar:
    """The grammar of an answer that must keep to one; see `is_bound`.

    Args:
        request: what is asked, checked by serving.validation.
        family: in whose notation the model writes.
        context: of the request's parser.
        tools: that the model may call.
        parallel: whether it may call several.
        special: ids of the special tokens, by their texts.
        lenient: whether keywords of schemas that can't be enforced are left out.

    Raises:
        ServiceError: a tool's schema can't be put in the model's notation.
    """
    choice, output = request.tool_choice, request.output_format
    rules: list[str] = []
    kinds: list[str] = []
    field = "tool_choice"
    if tools:
        chosen = [tool for tool in tools if choice.tool_name in ("", tool.name)]
        rules.append(_calls(family, chosen, parallel, special, lenient))
        kinds.append("calls")
    if not must_call(choice):
        term, field = _output(output, lenient)
        begin, end = family.answer_marks if not _has_begun(context, family) else ("", "")
        parts = [
            literal(begin, special) if begin else "",
            "form",
            literal(end, special) if end else "",
        ]
        kinds.append(" ".join(part for part in parts if part))
        rules.append(term)
    start = _start(family, context, special)
    rules = [
        f"start: {start}answer",
        f"answer: {' | '.join(kinds)}",
        *_thought(family, special),
        *rules,
    ]
    return Grammar("%llguidance {}\n" + "\n".join(rules), field)


def _calls(
    family: Family,
    tools: Sequence[ToolDefinition],
    parallel: bool,
    special: Mapping[str, int],
    lenient: bool,
) -> str:
    assert family.calls is not None
    grammar = CallGrammar(
        tools={tool.name: json.loads(tool.parameters_json or "{}") for tool in tools},
        parallel=parallel,
        literal=partial(literal, special=special),
        json_rule=partial(json_term, lenient=lenient),
    )
    try:
        return family.calls(grammar)
    except ValueError as error:
        raise unsupported("tools", str(error)) from None


def _output(output: OutputFormat, lenient: bool) -> tuple[str, str]:
    """The rules of an output format, of which one is `form`, and the field it came from."""
    kind = output.WhichOneof("format")
    field = f"output_format.{kind}"
    if kind == "json_object":
        return f"form: {json_term(_ANY_OBJECT)}", field
    if kind == "json_schema":
        schema = json.loads(output.json_schema.schema_json)
        return f"form: {json_term(schema, lenient=lenient)}", f"{field}.schema_json"
    if kind == "regex":
        return f"form: {regex_term(output.regex.pattern)}", f"{field}.pattern"
    if kind == "choice":
        return f"form: {choice_term(list(output.choice.choices))}", f"{field}.choices"
    return _START.sub(lambda m: "form" if m[0] == "start" else m[0], output.grammar.lark), (
        f"{field}.lark"
    )


def _start(family: Family, context: Context, special: Mapping[str, int]) -> str:
    """What stands before the answer: the rest of a thought, or perhaps a thought."""
    if family.thought_marks is None:
        return ""
    begin, end = family.thought_marks
    prompt = context.prompt_end.rstrip()
    if prompt.endswith(begin.rstrip()):
        return "thought "
    if prompt.endswith(end.rstrip()):
        return ""
    return f"({literal(begin, special)} thought)? "


def _thought(family: Family, special: Mapping[str, int]) -> list[str]:
    """The rules of a thought: any text up to the mark that ends it."""
    if family.thought_marks is None:
        return []
    return lazy_term("thought", family.thought_marks[1], special)


def _has_begun(context: Context, family: Family) -> bool:
    begin = family.answer_marks[0]
    return bool(begin) and context.prompt_end.endswith(begin)
