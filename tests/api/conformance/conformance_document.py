"""docs/conformance.md: the matrix, as the run proves it."""

from __future__ import annotations

from collections.abc import Iterable

from conformance_fakes import AIMOCK_VERSION
from conformance_features import FEATURES
from conformance_holes import HOLES, hole_of

PROVIDERS = ("openai", "anthropic", "google", "openrouter", "xai", "custom")
FAKES = ("llmock", "aimock")
MODES = ("unary", "streaming")

_HEAD = f"""# Conformance

api_service in front of two fake providers that others wrote: [llmock](https://pypi.org/project/llmock/)
and [aimock](https://www.npmjs.com/package/@copilotkit/aimock) {AIMOCK_VERSION}. Each cell is a call
through a real service on a real socket, with every check on. `make conformance` makes this page;
the tests fail where a cell that works here no longer does, and where a hole has closed.

✓ works · ✗ our gap · – the fake can't do it, or does it wrong · blank: there is no such call

llmock knows no OpenRouter: its OpenAI address stands in. `custom` is a fake's OpenAI address, given
by the caller as `base_url`.
"""

_TAIL = """
## llmock's resilience verdict

After each of its faults llmock judges the caller: no retry storm, `Retry-After` waited for, nothing
retried that can't succeed, no truncated stream taken for whole. The tests of each provider demand a
clean verdict, warnings included where it gives any.
"""


def document() -> str:
    """The page."""
    sections = [_HEAD]
    for provider in PROVIDERS:
        sections.append(f"## {provider}\n\n{_table(provider)}")
    sections.append("## Holes\n\n" + "\n".join(_holes()) + "\n")
    return "\n".join(sections) + _TAIL


def _table(provider: str) -> str:
    columns = [(fake, mode) for fake in FAKES for mode in MODES]
    lines = [
        "| feature | " + " | ".join(f"{fake}, {mode}" for fake, mode in columns) + " |",
        "|---|" + ":-:|" * len(columns),
    ]
    for feature in FEATURES:
        marks = []
        for fake, mode in columns:
            hole = hole_of((fake, provider, feature.name, mode))
            if mode not in feature.modes or (feature.listed and provider == "custom"):
                marks.append(" ")
            elif hole is None:
                marks.append("✓")
            else:
                sign = "✗" if hole.ours else "–"
                marks.append(f"{sign} [{HOLES.index(hole) + 1}](#holes)")
        lines.append(f"| {feature.name} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def _holes() -> Iterable[str]:
    for number, hole in enumerate(HOLES, 1):
        whose = "Ours" if hole.ours else "Theirs"
        yield f"{number}. {whose}: {hole.why}."
