"""Answers that keep to a form: a schema, an expression, a grammar, a choice, or calls.

All of it becomes one grammar in llguidance's dialect of Lark, which both backends take.
"""

from local_inference_service.constraints._compiler import Compiler
from local_inference_service.constraints._grammar import Grammar
from local_inference_service.constraints._mask import GrammarError, GrammarMask
from local_inference_service.constraints._requests import (
    grammar_of,
    is_bound,
    may_loosen,
    must_call,
)

__all__ = [
    "Compiler",
    "Grammar",
    "GrammarError",
    "GrammarMask",
    "grammar_of",
    "is_bound",
    "may_loosen",
    "must_call",
]
