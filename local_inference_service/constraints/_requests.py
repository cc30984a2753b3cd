"""What a request asks for -> the grammar of its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from local_inference_service.constraints._enforceable import Unenforceable
from local_inference_service.constraints._grammar import Grammar
from local_inference_service.constraints._lark import (
    choice_rules,
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
from serving.errors import invalid, unsupported

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
# Of a grammar's text: strings, expressions, comments, statements and names.
_WORD = re.compile(
    r'"(?:[^"\\]|\\.)*"|/(?![/*])(?:[^/\\]|\\.)*/|//[^\n]*|#[^\n]*|%\w+|[\w-]+', re.DOTALL
)
_EXTENSIONS = ("%json", "%regex", "%lark", "%llguidance")  # of llguidance, not of Lark
# Rules of ours beside a user's grammar: names that it hardly has.
_ANSWER, _THOUGHT, _FORM = "marsys_answer", "marsys_thought", "marsys_form"


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
        ServiceError: something can't be enforced, or not in the model's notation.
    """
    try:
        return _grammar_of(request, family, context, tools, parallel, special, lenient)
    except RecursionError:
        raise invalid(_schema_field(request), "is nested too deeply") from None


def _grammar_of(
    request: GenerateRequest,
    family: Family,
    context: Context,
    tools: Sequence[ToolDefinition],
    parallel: bool,
    special: Mapping[str, int],
    lenient: bool,
) -> Grammar:
    choice, output = request.tool_choice, request.output_format
    rules: list[str] = []
    kinds: list[str] = []
    field = "tool_choice"
    if tools:
        chosen = [tool for tool in tools if choice.tool_name in ("", tool.name)]
        rules.append(_calls(family, chosen, parallel, special, lenient))
        kinds.append("calls")
    if not must_call(choice):
        form, field = _output(output, lenient)
        begin, end = family.answer_marks if not _has_begun(context, family) else ("", "")
        parts = [
            literal(begin, special) if begin else "",
            _FORM,
            literal(end, special) if end else "",
        ]
        kinds.append(" ".join(part for part in parts if part))
        rules += form
    start = _start(family, context, special)
    rules = [
        f"start: {start}{_ANSWER}",
        f"{_ANSWER}: {' | '.join(kinds)}",
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


def _output(output: OutputFormat, lenient: bool) -> tuple[list[str], str]:
    """The rules of an output format, and the field it came from."""
    kind = output.WhichOneof("format")
    field = f"output_format.{kind}"
    if kind == "json_object":
        return [f"{_FORM}: {json_term(_ANY_OBJECT)}"], field
    if kind == "json_schema":
        field = f"{field}.schema_json"
        try:
            term = json_term(json.loads(output.json_schema.schema_json), lenient=lenient)
        except Unenforceable as error:
            raise unsupported(field, f"can't be enforced by local models: {error}") from None
        return [f"{_FORM}: {term}"], field
    if kind == "regex":
        return [f"{_FORM}: {regex_term(output.regex.pattern)}"], f"{field}.pattern"
    if kind == "choice":
        return choice_rules(_FORM, list(output.choice.choices)), f"{field}.choices"
    return [_own_grammar(output.grammar.lark, f"{field}.lark")], f"{field}.lark"


def _own_grammar(lark: str, field: str) -> str:
    """A user's grammar, whose rule to begin with bears our name."""
    words = {match[0] for match in _WORD.finditer(lark)}
    if "start" not in words:
        raise invalid(field, "must have a rule named start")
    for extension in sorted(words.intersection(_EXTENSIONS)):
        raise unsupported(field, f"{extension} isn't taken: it is no Lark")
    return _WORD.sub(lambda match: _FORM if match[0] == "start" else match[0], lark)


def _schema_field(request: GenerateRequest) -> str:
    json_schema = request.output_format.HasField("json_schema")
    return "output_format.json_schema.schema_json" if json_schema else "tools"


def _start(family: Family, context: Context, special: Mapping[str, int]) -> str:
    """What stands before the answer: the rest of a thought, or perhaps a thought."""
    if family.thought_marks is None:
        return ""
    begin, end = family.thought_marks
    prompt = context.prompt_end.rstrip()
    if prompt.endswith(begin.rstrip()):
        return f"{_THOUGHT} "
    if prompt.endswith(end.rstrip()):
        return ""
    return f"({literal(begin, special)} {_THOUGHT})? "


def _thought(family: Family, special: Mapping[str, int]) -> list[str]:
    """The rules of a thought: any text up to the mark that ends it."""
    if family.thought_marks is None:
        return []
    return lazy_term(_THOUGHT, family.thought_marks[1], special)


def _has_begun(context: Context, family: Family) -> bool:
    begin = family.answer_marks[0]
    return bool(begin) and context.prompt_end.endswith(begin)
