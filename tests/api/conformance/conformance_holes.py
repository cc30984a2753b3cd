"""The holes of the matrix: cells that don't work, and whose fault that is.

A hole is a pattern of (fake, provider, feature, mode), "*" for any. Every other cell must work, and
a hole that has come to work is an error, too: take it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

Cell = tuple[str, str, str, str]
"""Fake, provider, feature and mode."""


@dataclass(frozen=True)
class Hole:
    """Cells that don't work.

    Attributes:
        cells: pattern of fake, provider, feature and mode.
        why: in words.
        ours: whether the fault is this project's; else the fake can't do it, or does it wrong.
    """

    cells: Cell
    why: str
    ours: bool = False

    def covers(self, cell: Cell) -> bool:
        return all(map(fnmatchcase, cell, self.cells))


_NO_THOUGHTS = "its models don't reason"

HOLES: tuple[Hole, ...] = (
    Hole(("llmock", "*", "reasoning text", "*"), _NO_THOUGHTS),
    Hole(("llmock", "*", "reasoning goes back with a tool result", "*"), _NO_THOUGHTS),
    Hole(
        ("llmock", "openrouter", "usage", "streaming"),
        "OpenRouter always tells the usage; the OpenAI address that stands in must be asked to",
    ),
    Hole(("aimock", "*", "chunk that is no JSON", "*"), "it spoils whole answers only"),
    Hole(
        ("llmock", "openai", "finish: content filter", "*"),
        "its Responses are always complete",
    ),
    Hole(("aimock", "openai", "finish: length", "*"), "its Responses don't say what ended them"),
    Hole(
        ("aimock", "openai", "finish: content filter", "*"),
        "its Responses have failed then, without an error",
    ),
    Hole(
        ("aimock", "anthropic", "finish: content filter", "*"),
        "it passes OpenAI's word on, which Anthropic doesn't have",
    ),
    Hole(("aimock", "google", "model list", "*"), "it has no list of Gemini models"),
)


def hole_of(cell: Cell) -> Hole | None:
    """The hole that a cell is part of."""
    return next((hole for hole in HOLES if hole.covers(cell)), None)
