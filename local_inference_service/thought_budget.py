"""Ends a model's thought when its budget is spent."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from local_inference_service.parsing import Parser
from local_inference_service.text_stream import TextStream


class ThoughtBudget:
    """Makes a model close its thought after some tokens: a Rule of its sampler.

    Args:
        budget: most tokens of reasoning, 0 or more.
        end: token ids with which a thought is closed, at least one.
        parser: one of its own, to know when the model thinks.
        text: likewise, to turn tokens into text.
    """

    def __init__(self, budget: int, end: Sequence[int], parser: Parser, text: TextStream) -> None:
        self._left = budget
        self._end = list(end)
        self._parser = parser
        self._text = text
        self._forced: list[int] = []

    def took(self, token: int) -> None:
        if self._forced:
            self._forced.pop(0)
        if self._parser.in_reasoning:
            self._left -= 1
        self._parser.feed(self._text.push(token))

    def apply(self, scores: torch.Tensor) -> torch.Tensor:
        spent = self._left <= 0 and self._parser.in_reasoning
        # A grammar may bar the end for a step, as within a character.
        if spent and not self._forced and scores[0, self._end[0]].isfinite():
            self._forced = list(self._end)
        if not self._forced:
            return scores
        only = torch.full_like(scores, float("-inf"))
        only[0, self._forced[0]] = 0
        return only
