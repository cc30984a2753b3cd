"""Lark rules, in llguidance's dialect, for answers that are calls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from local_inference_service.parsing.family import CallGrammar, Schema

LINE_BREAK = '("\\n")?'  # or none

_PART = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")|<\[[^\]]*\]>')
_ANY_TEXT = "(?s:.*)"


class CallRules:
    """The rules of one grammar as they are made.

    Args:
        grammar: what they are made of.
    """

    def __init__(self, grammar: CallGrammar) -> None:
        self.literal = grammar.literal
        self._grammar = grammar
        self._rules: list[str] = []

    def json(self, schema: Schema) -> str:
        """The term for JSON that validates against a schema."""
        return self._grammar.json_rule(schema)

    def rule(self, body: str) -> str:
        """Add a rule. Returns its name."""
        name = f"call_{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name

    def token(self, body: str) -> str:
        """Add a terminal. Returns its name."""
        name = f"CALL_{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name

    def free_text(self, end: str, without: tuple[str, ...], size: str = "") -> str:
        """The term for text that ends with a literal.

        Args:
            end: the literal.
            without: texts that it can't hold before that.
            size: how many characters it has, as "{2,5}"; empty: any number.
        """
        before, rest = self._split(end)
        text = f"(?s:.{size})" if size else _ANY_TEXT
        limits = "".join(f" & ~/{_ANY_TEXT}{_pattern(one)}{_ANY_TEXT}/" for one in without)
        body = self.token(f"/{text}/{limits}")
        return f"{self.token(f'{body} {json.dumps(before)}') if before else body} {rest}"

    def one_of(self, texts: list[str], end: str) -> str:
        """The term for one of some texts, followed by a literal."""
        return "(" + " | ".join(self.literal(text + end) for text in texts) + ")"

    def text(self, start: str) -> str:
        """All rules, and the one that begins.

        Args:
            start: the body of the rule `calls`.
        """
        return "\n".join([f"calls: {start}", *self._rules])

    def _split(self, literal: str) -> tuple[str, str]:
        """The text before a literal's first special token, and the term for the rest."""
        parts = [found[0] for found in _PART.finditer(self.literal(literal))]
        if parts and parts[0].startswith('"'):
            return json.loads(parts[0]), " ".join(parts[1:])
        return "", " ".join(parts)


def call_rules(
    grammar: CallGrammar,
    call: Callable[[CallRules, str, Schema], str],
    begin: str = "",
    separator: str = "",
    end: str = "",
) -> str:
    """The rules for one call, or several.

    Args:
        grammar: what they are made of.
        call: gives the body of the rule for a call of one tool.
        begin: literal before the calls.
        separator: literal between two calls.
        end: literal after the calls.
    """
    rules = CallRules(grammar)
    one = any_call(rules, grammar, call)
    body = [rules.literal(begin)] if begin else []
    body.append(one)
    if grammar.parallel:
        body.append(f"({rules.literal(separator)} {one})*" if separator else f"{one}*")
    if end:
        body.append(rules.literal(end))
    return rules.text(" ".join(body))


def any_call(
    rules: CallRules, grammar: CallGrammar, call: Callable[[CallRules, str, Schema], str]
) -> str:
    """Add the rules for a call of any tool. Returns the name of the one to begin with."""
    bodies = [call(rules, name, as_object(schema)) for name, schema in grammar.tools.items()]
    return rules.rule(" | ".join(map(rules.rule, bodies)))


def json_call_rules(
    grammar: CallGrammar, head: str, tail: str, begin: str = "", separator: str = "", end: str = ""
) -> str:
    """The rules for calls whose arguments are JSON.

    Args:
        grammar: what they are made of.
        head: literal before the arguments; "NAME" stands for the tool's name.
        tail: literal after them.
        begin: as in call_rules.
        separator: as in call_rules.
        end: as in call_rules.
    """

    def call(rules: CallRules, name: str, schema: Schema) -> str:
        parts = [rules.literal(head.replace("NAME", name)), rules.json(schema)]
        return " ".join([*parts, rules.literal(tail)] if tail else parts)

    return call_rules(grammar, call, begin, separator, end)


def as_object(schema: Schema) -> Schema:
    """A schema of arguments, which are an object whether it says so or not."""
    return {"type": "object", **schema}


def _pattern(text: str) -> str:
    return "".join(f"\\x{{{ord(char):x}}}" if not char.isalnum() else char for char in text)
