"""A model family: how its models write thoughts and calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from local_inference_service.parsing.parser import Parser

Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a parser is told of the request.

    Attributes:
        tools: the JSON schema of the arguments of each tool on offer.
        prompt_end: the end of the prompt, which tells whether the answer begins within a thought.
    """

    tools: Mapping[str, Schema] = field(default_factory=dict)
    prompt_end: str = ""


@dataclass(frozen=True, slots=True)
class CallGrammar:
    """What a family's grammar of calls is made of.

    Attributes:
        tools: the JSON schema of the arguments of each tool that may be called; at least one.
        parallel: whether several calls may be made.
        literal: a text -> the Lark term for it, in which special tokens are single tokens.
        json_rule: a JSON schema -> the Lark term for JSON that validates against it.
    """

    tools: Mapping[str, Schema]
    parallel: bool
    literal: Callable[[str], str]
    json_rule: Callable[[Schema], str]


@dataclass(frozen=True, slots=True)
class Family:
    """How the models of a family write.

    Attributes:
        name: the family.
        markers: texts with a meaning, many of them special tokens of the tokenizer: they have to be
            visible in what a parser is fed. Other special tokens are to be left out.
        parser: makes a parser of one answer.
        calls: makes the rules, in llguidance's dialect of Lark, of an answer that is one call, or
            several. The rule to begin with is `calls`; the names of all others begin with `call_`
            or `CALL_`. Raises ValueError for a tool whose schema can't be put in this notation.
            None: the family has no notation for calls.
        thought_marks: what begins and what ends a thought; None: the models don't reason.
        answer_marks: what stands before and after an answer that is no call; may be empty.
        thinks: texts one of which the chat template holds where a model reasons.
    """

    name: str
    markers: frozenset[str]
    parser: Callable[[Context], Parser]
    calls: Callable[[CallGrammar], str] | None = None
    thought_marks: tuple[str, str] | None = None
    answer_marks: tuple[str, str] = ("", "")
    thinks: tuple[str, ...] = ()
