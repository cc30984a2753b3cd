"""A grammar that an answer must keep to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar, and where it comes from.

    Attributes:
        lark: the rules, in llguidance's dialect of Lark; the rule to begin with is `start`.
        field: the request's field that asks for it, for errors.
    """

    lark: str
    field: str
