"""Runs the grammars of calls over a byte-level tokenizer that knows a family's special tokens."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from local_inference_service.parsing import CallGrammar, Family

_END = "<|the end|>"
_TEXT_ENDS = (
    '"',
    "\n</parameter>\n",
    "</arg_value>",
    "</｜DSML｜parameter>\n",
    "</｜DSML｜ parameter>\n",
)


class Calls:
    """What a family's grammar of calls accepts.

    Args:
        family: the family.
        tools: name -> the schema of the arguments.
        parallel: whether several calls may be made.
        special: whether the family's markers are special tokens of the tokenizer.

    Raises:
        ValueError: a tool has no form in the family's notation, or the grammar is wrong.
    """

    def __init__(
        self,
        family: Family,
        tools: Mapping[str, Any],
        parallel: bool = True,
        special: bool = True,
    ) -> None:
        markers = sorted(family.markers, key=len, reverse=True) if special else []
        self._tokenizer, self._ids = _tokenizer(markers)
        self._pattern = re.compile("|".join(map(re.escape, [_END, *markers])))
        grammar = CallGrammar(tools, parallel, self.literal, _json_rule)
        assert family.calls is not None
        self.rules = f"start: calls\n{family.calls(grammar)}"
        self._check = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(self.rules))
        if self._check:
            raise ValueError(self._check)

    def literal(self, text: str) -> str:
        """The Lark term for a text."""
        terms: list[str] = []
        begin = 0
        for match in [*self._pattern.finditer(text), None]:
            piece = text[begin : match.start() if match else None]
            if piece:
                terms.append(json.dumps(piece, ensure_ascii=False))
            if match:
                terms.append(f"<[{self._ids[match[0]]}]>")
                begin = match.end()
        return " ".join(terms)

    def accepts(self, text: str) -> bool:
        """Whether the whole text is an answer."""
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(self.rules), log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        for token in self._tokens(text):
            if matcher.is_stopped() or not matcher.try_consume_tokens([token]):
                return False
        return bool(matcher.is_accepting())

    def random_answer(self, chance: random.Random) -> str:
        """An answer that the grammar accepts, chosen token by token.

        Free text is ended now and then, which random letters would hardly do.
        """
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(self.rules), log_level=0)
        ends = [self._tokens(text) for text in _TEXT_ENDS]
        answer: list[int] = []
        while not matcher.is_stopped():
            assert len(answer) < 20_000
            allowed = [token for token, bias in enumerate(matcher.compute_logit_bias()) if bias]
            tokens = [chance.choice(allowed)]
            if len(allowed) > 100 and chance.random() < 0.2:
                fitting = [end for end in ends if matcher.validate_tokens(end) == len(end)]
                tokens = chance.choice(fitting or [tokens])
            if tokens == [self._ids[_END]]:
                break
            assert matcher.consume_tokens(tokens)
            answer += tokens
        return "".join(self._text_of(answer))

    def _text_of(self, tokens: list[int]) -> Iterator[str]:
        texts = {token: text for text, token in self._ids.items() if len(text) > 1}
        letters = {token: ord(text) for text, token in self._ids.items() if len(text) == 1}
        for special, run in groupby(tokens, key=texts.get):
            if special:
                yield from (special for _ in run)
            else:
                yield bytes(letters[token] for token in run).decode()

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = []
        begin = 0
        for match in [*self._pattern.finditer(text), None]:
            piece = text[begin : match.start() if match else None]
            tokens += [self._ids[chr(byte)] for byte in piece.encode()]
            if match:
                tokens.append(self._ids[match[0]])
                begin = match.end()
        return tokens


def _json_rule(schema: Mapping[str, Any]) -> str:
    return "%json " + json.dumps(schema)


def _tokenizer(markers: list[str]) -> tuple[LLTokenizer, dict[str, int]]:
    """A tokenizer of bytes and markers; and ids by marker, and by the character of each byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={one: n for n, one in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in [_END, *markers]])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END)
    ids = {text: fast.convert_tokens_to_ids(text) for text in [_END, *markers]}
    for byte in range(256):
        (ids[chr(byte)],) = (n for n, one in enumerate(letters) if _BYTES[one] == byte)
    return from_tokenizer(fast), ids


def _byte_letters() -> dict[str, int]:
    """The letter by which byte-level tokenizers show each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in shown}
    rest = [byte for byte in range(256) if byte not in shown]
    return letters | {chr(256 + n): byte for n, byte in enumerate(rest)}


_BYTES = _byte_letters()
