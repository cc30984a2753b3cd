"""Holds one answer to a grammar while it is written."""

from __future__ import annotations

from typing import Any

import torch

_BITS = torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8)


class GrammarError(Exception):
    """The grammar became too complex or came to a dead end, or a token isn't allowed."""


class GrammarMask:
    """Tells which tokens may come next. Belongs to one answer.

    Args:
        matcher: llguidance's LLMatcher.
        width: how many logits the model gives.
    """

    def __init__(self, matcher: Any, width: int) -> None:
        self._matcher = matcher
        self._words = torch.zeros((width + 31) // 32, dtype=torch.int32)
        self._width = width

    def took(self, token: int) -> None:
        """A token was chosen.

        Raises:
            GrammarError: it isn't one that the grammar allows.
        """
        if not self._matcher.consume_token(token):
            raise GrammarError(self._matcher.get_error() or "a token that isn't allowed was chosen")

    def apply(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores in which all tokens that may not come next are -inf.

        Args:
            scores: float tensor of shape (1, vocabulary).

        Raises:
            GrammarError: the grammar became too complex.
        """
        self._matcher.unsafe_compute_mask_ptr(self._words.data_ptr(), self._words.nbytes)
        if self._matcher.is_error():
            why = self._matcher.get_error().replace("<non-verbose/>", "").strip()
            raise GrammarError(f"the answer can't go on as the grammar demands: {why}")
        bits = (self._words.view(torch.uint8).unsqueeze(1) & _BITS) == 0
        barred = bits.view(-1)[: self._width].to(scores.device)
        return scores.masked_fill(barred, float("-inf"))
