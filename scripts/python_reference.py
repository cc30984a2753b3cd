"""Write docs/python.md: every public name of the Python client, from signatures and docstrings.

python scripts/python_reference.py           write it
python scripts/python_reference.py --check   exit 1 if the committed one differs
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import marsys.agents.exceptions
import marsys.models
import marsys.models.converse
import marsys.models.fallback
from marsys.models import _fallback_stream, _stream, _turn_stream

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "python.md"
_NOTE = "<!-- Written by scripts/python_reference.py from signatures and docstrings. -->"
# Public by being handed out, not by being imported.
_HANDED_OUT = (
    _stream.ResponseStream,
    marsys.models.fallback.FallbackModel,
    _fallback_stream.FallbackStream,
    marsys.models.converse.Conversation,
    _turn_stream.TurnStream,
)
# Docstrings' sections become lists.
_SECTIONS = ("Args", "Returns", "Raises", "Attributes", "Keys", "Yields")


def page() -> str:
    """The page."""
    lines = [
        "# Python",
        "",
        _NOTE,
        "",
        "`pip install marsys-models` is the client; `marsys.models` and"
        " `marsys.agents.exceptions` are its public modules, [marsys.v1](contract.md) the generated"
        " contract. The adapters, which hold weights in your own process, need"
        " `marsys-models[local]`.",
    ]
    lines += ["", "## marsys.models"]
    for name in marsys.models.__all__:
        lines += _described(name, getattr(marsys.models, name))
    lines += ["", "## What calls return"]
    for cls in _HANDED_OUT:
        lines += _described(cls.__name__, cls, constructor=False)
    lines += ["", "## marsys.agents.exceptions"]
    for name, cls in _own_classes(marsys.agents.exceptions):
        lines += _described(name, cls)
    text = "\n".join(lines) + "\n"
    return re.sub(r"\n{3,}", "\n\n", text)


def _own_classes(module: ModuleType) -> Iterator[tuple[str, type]]:
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_":
            yield name, value


def _described(name: str, value: Any, *, constructor: bool = True) -> Iterator[str]:
    yield from ("", f"### {name}", "")
    if not inspect.isclass(value):
        yield from (_signature(name, value), "", *_doc(value))
        return
    if hasattr(value, "model_fields"):
        yield from _doc(value)
        yield from _fields(value)
        return
    if constructor and not inspect.isabstract(value):
        yield from (_signature(name, value), "")
    bases = [base.__name__ for base in value.__bases__ if base.__module__.startswith("marsys")]
    if bases and bases[0][0] != "_":
        yield from (f"Is a `{bases[0]}`.", "")
    yield from _doc(value)
    for member, found in _members(value):
        if isinstance(found, property):
            yield from ("", f"**`.{member}`**", "", *_doc(found))
        else:
            yield from ("", _signature(f".{member}", getattr(value, member)), "", *_doc(found))


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public members of a class and of its private bases."""
    seen: set[str] = set()
    for base in cls.__mro__:
        private = base is cls or base.__name__ in ("ModelCaller", "ChunkStream")
        if not private:
            continue
        for name, value in vars(base).items():
            public = not name.startswith("_") and name not in seen
            if public and (isinstance(value, property | classmethod) or inspect.isfunction(value)):
                seen.add(name)
                yield name, value


def _fields(cls: Any) -> Iterator[str]:
    yield from ("", "| field | type | default | |", "|---|---|---|---|")
    for name, field in cls.model_fields.items():
        kind = (
            _plain(str(field.annotation))
            if not inspect.isclass(field.annotation)
            else (field.annotation.__name__)
        )
        default = (
            "required"
            if field.is_required()
            else f"`{field.get_default(call_default_factory=True)!r}`"
        )
        bounds = ", ".join(map(str, field.metadata))
        said = (field.description or "") + (f" ({bounds})" if bounds else "")
        yield f"| `{name}` | `{kind}` | {default} | {said} |".replace(" | None", " \\| None")


def _signature(name: str, value: Any) -> str:
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        signature = "(...)"
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    text = f"{prefix}{name}{_plain(signature)}".replace("(self, ", "(").replace("(self)", "()")
    if len(text) > 95:
        inside = text[text.index("(") + 1 : text.rindex(")")]
        parts = re.split(r", (?![^\[(]*[\])])", inside)
        body = "".join(f"\n    {part}," for part in parts)
        text = f"{text[: text.index('(')]}({body}\n{text[text.rindex(')') :]}"
    return f"```python\n{text}\n```"


def _plain(text: str) -> str:
    """A signature as a reader wants it."""
    text = re.sub(r"(?:marsys|collections|typing|os)\.(?:\w+\.)*", "", text)
    text = re.sub(r"<function (\w+) at [^>]+>", r"\1", text)
    return re.sub(r"'([^']+)'", r"\1", text).replace("NoneType", "None")


def _doc(value: Any) -> Iterator[str]:
    """A docstring as Markdown: sections become lists, indented blocks code."""
    section = ""
    for line in (inspect.getdoc(value) or "").splitlines():
        found = re.fullmatch(r"(\w+):", line)
        if found and found[1] in _SECTIONS:
            section = found[1]
            yield from ("", f"{section}:", "")
        elif section and re.match(r"    \S", line):
            name, colon, said = line.strip().partition(":")
            yield f"- `{name}`:{said}" if colon else f"- {line.strip()}"
        elif section and line.strip():
            yield f"  {line.strip()}"
        else:
            section = "" if line.strip() else section
            yield textwrap.dedent(line) if not line.startswith("    ") else line


def main() -> int:
    """Write or check. Returns the process's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print("stale: docs/python.md; run scripts/python_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
