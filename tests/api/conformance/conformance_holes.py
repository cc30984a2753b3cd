"""The holes of the matrix: cells that don't work, and whose fault that is.

A hole is a pattern of (fake, provider, feature, mode), "*" for any. Every other cell must work, and
a hole that has come to work is an error, too: take it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Hole:
    """Cells that don't work.

    Attributes:
        cells: pattern of fake, provider, feature and mode.
        why: in words.
        ours: whether the fault is this project's; else the fake can't do it, or does it wrong.
    """

    cells: tuple[str, str, str, str]
    why: str
    ours: bool = False

    def covers(self, cell: tuple[str, str, str, str]) -> bool:
        return all(map(fnmatchcase, cell, self.cells))


_TRANSLATES = (
    "it tells what it was sent in OpenAI's words only, so that this can't be seen; "
    "the golden vectors show it"
)

HOLES: tuple[Hole, ...] = (
    Hole(("llmock", "*", "reasoning text", "*"), "its models don't reason"),
    Hole(
        ("llmock", "openrouter", "usage", "streaming"),
        "OpenRouter always tells the usage; the OpenAI address that stands in must be asked to",
    ),
    Hole(("aimock", "*", "chunk that is no JSON", "*"), "it spoils whole answers only"),
    Hole(
        ("llmock", "openai", "finish: content filter", "*"),
        "its Responses are always complete",
    ),
    Hole(("aimock", "openai", "image", "*"), _TRANSLATES),
    Hole(("aimock", "openai", "response schema", "*"), _TRANSLATES),
    Hole(("aimock", "openai", "finish: length", "*"), "its Responses don't say what ended them"),
    Hole(
        ("aimock", "openai", "finish: content filter", "*"),
        "its Responses have failed then, without an error",
    ),
    Hole(("aimock", "anthropic", "stop strings", "*"), _TRANSLATES),
    Hole(("aimock", "anthropic", "one function forced", "*"), _TRANSLATES),
    Hole(("aimock", "anthropic", "image", "*"), _TRANSLATES),
    Hole(("aimock", "anthropic", "response schema", "*"), _TRANSLATES),
    Hole(
        ("aimock", "anthropic", "finish: content filter", "*"),
        "it passes OpenAI's word on, which Anthropic doesn't have",
    ),
    Hole(("aimock", "google", "stop strings", "*"), _TRANSLATES),
    Hole(("aimock", "google", "one function forced", "*"), _TRANSLATES),
    Hole(("aimock", "google", "image", "*"), _TRANSLATES),
    Hole(("aimock", "google", "response schema", "*"), _TRANSLATES),
    Hole(("aimock", "google", "model list", "*"), "it has no list of Gemini models"),
)


def hole_of(cell: tuple[str, str, str, str]) -> Hole | None:
    """The hole that a cell is part of."""
    return next((hole for hole in HOLES if hole.covers(cell)), None)
