"""Compiles grammars for one model's tokenizer."""

from __future__ import annotations

import copy
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import llguidance
import llguidance.hf
from transformers import PreTrainedTokenizerFast

from local_inference_service.constraints._grammar import Grammar
from local_inference_service.constraints._mask import GrammarMask
from serving.errors import invalid, unsupported

_MOST_KEPT = 256  # compiled grammars
_MOST_CHARACTERS = 256 * 1024  # of one grammar
_MOST_CHARACTERS_KEPT = 4 * 1024 * 1024
_MOST_SAID = 400  # characters of an error: it may quote all of the grammar
_UNSUPPORTED = ("Unimplemented keys", "not supported", "only supported", "Unknown format")
_WHERE = re.compile(r"^at \d+\(\d+\): ")


class Compiler:
    """Compiles grammars, and keeps the latest. May be used from several threads.

    Args:
        tokenizer: the model's transformers tokenizer.
        width: how many logits the model gives.
        ends: ids of the tokens that end an answer.

    Attributes:
        special: ids of the special tokens, by their texts.

    Raises:
        TypeError: the tokenizer is no fast one.
    """

    def __init__(self, tokenizer: Any, width: int, ends: Sequence[int]) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise TypeError("the tokenizer is no fast one")
        self._width = width
        self._tokenizer = llguidance.hf.from_tokenizer(
            copy.deepcopy(tokenizer), n_vocab=width, eos_token=list(ends) or None
        )
        self.special = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if self._tokenizer.is_special_token(number)
        }
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def check(self, grammar: Grammar) -> None:
        """Compile a grammar, or find it compiled.

        Raises:
            ServiceError: it is wrong, can't be enforced, or is too large.
        """
        self._matcher(grammar)

    def mask(self, grammar: Grammar) -> GrammarMask:
        """What holds one answer to a grammar. Raises as `check` does."""
        return GrammarMask(self._matcher(grammar).deep_copy(), self._width)

    def _matcher(self, grammar: Grammar) -> Any:
        with self._lock:
            if grammar.lark in self._kept:
                self._kept.move_to_end(grammar.lark)
                return self._kept[grammar.lark]
        if len(grammar.lark) > _MOST_CHARACTERS:
            raise invalid(grammar.field, f"is too large: at most {_MOST_CHARACTERS} characters")
        matcher = llguidance.LLMatcher(
            self._tokenizer,
            llguidance.LLMatcher.grammar_from_lark(grammar.lark),
            log_level=0,
            limits=llguidance.LLParserLimits(verbose_errors=False),
        )
        if not matcher.is_error():
            matcher.compute_bitmask()  # finds what is too complex, and is the slowest one
        if matcher.is_error():
            raise _refused(grammar, matcher.get_error())
        with self._lock:
            self._kept[grammar.lark] = matcher
            while len(self._kept) > _MOST_KEPT or sum(map(len, self._kept)) > _MOST_CHARACTERS_KEPT:
                self._kept.popitem(last=False)
        return matcher


def _refused(grammar: Grammar, error: str) -> Exception:
    text = (
        _WHERE.sub("", error.replace("<non-verbose/>", "").strip()).split("\n 	")[0].splitlines()
    )
    said = " ".join(line.strip() for line in text[:4] if line.strip() and "|" not in line[:8])
    said = said.removeprefix("failed to compile JSON schema: ")[:_MOST_SAID]
    if any(sign in error for sign in _UNSUPPORTED):
        return unsupported(grammar.field, f"can't be enforced by local models: {said}")
    return invalid(grammar.field, f"can't be compiled: {said}")
