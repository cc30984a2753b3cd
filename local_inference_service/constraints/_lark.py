"""Texts of Lark rules, in llguidance's dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from local_inference_service.constraints._closed import closed
from local_inference_service.constraints._enforceable import enforceable

# Compact, with a space where most models write one. Free white space would let a small model run
# off into blanks.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


def literal(text: str, special: Mapping[str, int]) -> str:
    """The term for a text that is written as it stands.

    Args:
        text: the text.
        special: ids of the special tokens, by their texts; within the text they are those tokens.
    """
    if not special:
        return json.dumps(text)
    pattern = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    terms = []
    for piece in re.split(f"({pattern})", text):
        if piece in special:
            terms.append(f"<[{special[piece]}]>")
        elif piece:
            terms.append(json.dumps(piece))
    return " ".join(terms) or '""'


def json_term(schema: Mapping[str, Any] | bool, *, lenient: bool = False) -> str:
    """The term for JSON that validates against a schema. Objects are closed; see `closed`.

    Args:
        schema: a JSON schema (draft 2020-12).
        lenient: whether keywords that can't be enforced are left out; else they are an error here,
            or when the grammar is compiled.

    Raises:
        Unenforceable: the schema asks for what can't be enforced.
    """
    if isinstance(schema, bool):
        schema = {} if schema else {"enum": []}
    spacing = _SPACING | ({"lenient": True} if lenient else {})
    made = closed(enforceable(schema, lenient=lenient))
    return f"%json {json.dumps(made | {'x-guidance': spacing})}"


def lazy_term(name: str, end: str, special: Mapping[str, int]) -> list[str]:
    """A rule for any text up to and with a mark, and a little white space behind it.

    Args:
        name: of the rule.
        end: the mark.
        special: ids of the special tokens, by their texts.
    """
    mark = literal(end, special)
    blank = f"{name}_blank: /[ \\n]{{0,2}}/"
    if mark.startswith("<["):
        return [f"{name}: /(?s:.*)/ {mark} {name}_blank", blank]
    first = mark.split(" <[")[0]
    rest = mark.removeprefix(first)
    pattern = re.escape(json.loads(first)).replace("/", "\\/")
    head = f"{name}_head[lazy]: /(?s:.*){pattern}/"
    return [f"{name}: {name}_head{rest} {name}_blank", head, blank]


def choice_rules(name: str, choices: list[str]) -> list[str]:
    """A rule for one of some texts, as a single lexeme: there may be thousands."""
    return [f"{name}: CHOICE", f"CHOICE: {' | '.join(map(json.dumps, choices))}"]


def regex_term(pattern: str) -> str:
    """The term for text that an expression, in the syntax of Rust's regex crate, matches whole."""
    # A slash would end the term, unless it is escaped.
    return "/" + re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern) + "/"
