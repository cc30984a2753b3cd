"""docs/conformance.md: the matrix, as the run proves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from conformance_fakes import AIMOCK_VERSION
from conformance_features import FEATURES
from conformance_holes import HOLES, Cell, hole_of

PROVIDERS = ("openai", "anthropic", "google", "openrouter", "xai", "custom")
FAKES = ("llmock", "aimock")
MODES = ("unary", "streaming")

_HEAD = f"""# Conformance

api_service in front of two fake providers that others wrote: [llmock](https://pypi.org/project/llmock/)
and [aimock](https://www.npmjs.com/package/@copilotkit/aimock) {AIMOCK_VERSION}. Each cell is a call
through a real service on a real socket. What it asks for must have gone up in the provider's words,
the fake must have taken it, and its answer must have come out whole. `make conformance` runs the
cells and writes this page from what they did; the tests fail where a cell that works here no longer
does, and where a hole has closed.

✓ works · ✗ our gap · – the fake can't do it, or does it wrong · blank: there is no such call

llmock knows no OpenRouter: its OpenAI address stands in. `custom` is a fake's OpenAI address, given
by the caller as `base_url`. `openai` is called over Responses, and over Chat Completions where a
call asks for what only that has, such as stop strings. Tokens are counted by the provider where it
counts them, else estimated. Errors amid a stream, which neither fake sends, are in the golden
vectors.
"""

_VERDICT = """## llmock's resilience verdict

llmock judges its caller: no retry storm, `Retry-After` waited for, growing delays, nothing retried
that can't succeed, nothing that may pass given up at once, no truncated or spoiled stream taken for
whole, no endless wait. Every cell of its columns demands a verdict without errors and without
warnings. These are the cells in which it broke something:
"""
_AGAIN = """
After a stream that broke amid its answer the service doesn't ask again, since the caller has seen a
part of it: the caller gets an error, and asks again in these tests.
"""


def document(worked: Mapping[Cell, bool]) -> str:
    """The page.

    Args:
        worked: of each cell, whether it works.
    """
    sections = [_HEAD]
    for provider in PROVIDERS:
        sections.append(f"## {provider}\n\n{_table(provider, worked)}")
    sections.append("## Holes\n\n" + "\n".join(_footnotes()) + "\n")
    sections.append(_VERDICT + "\n" + _verdicts(worked) + _AGAIN)
    return "\n".join(sections)


def _table(provider: str, worked: Mapping[Cell, bool]) -> str:
    columns = [(fake, mode) for fake in FAKES for mode in MODES]
    lines = _heading("feature", [f"{fake}, {mode}" for fake, mode in columns])
    for feature in FEATURES:
        cells = [(fake, provider, feature.name, mode) for fake, mode in columns]
        lines.append(f"| {feature.name} | {' | '.join(_mark(cell, worked) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _mark(cell: Cell, worked: Mapping[Cell, bool]) -> str:
    if cell not in worked:
        return " "
    if worked[cell]:
        return "✓"
    hole = hole_of(cell)
    if hole is None:
        return "✗"
    number = 1 + _reasons().index((hole.why, hole.ours))
    return f"{'✗' if hole.ours else '–'} [{number}](#holes)"


def _verdicts(worked: Mapping[Cell, bool]) -> str:
    faults = [feature for feature in FEATURES if feature.breaks]
    lines = _heading("fault", PROVIDERS)
    for feature in faults:
        marks = []
        for provider in PROVIDERS:
            cells = [("llmock", provider, feature.name, mode) for mode in feature.modes]
            marks.append("pass" if all(worked[cell] for cell in cells) else "fail")
        lines.append(f"| {feature.name} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def _heading(first: str, others: Iterable[str]) -> list[str]:
    names = list(others)
    return [f"| {first} | {' | '.join(names)} |", "|---|" + ":-:|" * len(names)]


def _reasons() -> list[tuple[str, bool]]:
    """Why there are holes, each reason once."""
    return list(dict.fromkeys((hole.why, hole.ours) for hole in HOLES))


def _footnotes() -> Iterable[str]:
    for number, (why, ours) in enumerate(_reasons(), 1):
        yield f"{number}. {'Ours' if ours else 'Theirs'}: {why}."
