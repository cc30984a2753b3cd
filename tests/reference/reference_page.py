"""The reference page of the public Python API, and how its examples are run: as they stand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

WAYS = ("script", "notebook")


def find_page() -> Path | None:
    """The page: MARSYS_REFERENCE_PAGE, else beside the checkout."""
    told = os.environ.get("MARSYS_REFERENCE_PAGE")
    beside = Path(__file__).parents[3] / "shared" / "reference" / "models-api-reference.md"
    page = Path(told) if told else beside
    return page if page.is_file() else None


@dataclass(frozen=True)
class Example:
    """A block of Python on the page.

    Attributes:
        name: its headings, and its place among the blocks below them: "JSON Mode#1".
        code: its text.
        line: the page's line before its first one.
        page: where the page is.
    """

    name: str
    code: str
    line: int
    page: str

    def run(self, way: str = "script", before: str = "", **names: Any) -> dict[str, Any]:
        """Run it and give the names that it leaves behind.

        Args:
            way: "script": awaits, if it has any, run on a new event loop, the rest runs without
                one; "notebook": all of it runs inside a running loop.
            before: lines that it goes on from, such as the `try` of an `except`.
            names: what the text around it has defined.
        """
        namespace: dict[str, Any] = {"__name__": "example", **names}
        code = self._compiled(before)
        if code.co_flags & inspect.CO_COROUTINE or way == "notebook":
            asyncio.run(_inside(code, namespace))
        else:
            exec(code, namespace)
        return namespace

    def program(self, way: str, *after: str) -> str:
        """It as a program of its own, with further lines at its end."""
        lines = [*self.code.splitlines(), *after]
        if way == "script":
            return "\n".join(lines) + "\n"
        inside = "".join(f"    {line}\n" if line else "\n" for line in lines)
        return f"import asyncio\n\nasync def main():\n{inside}\nasyncio.run(main())\n"

    def value(self, **names: Any) -> Any:
        """What it is worth, for an example that is one expression."""
        return eval(self.code.strip(), dict(names))

    def comments(self, after: str) -> list[str]:
        """The comment lines that follow the comment line with this text."""
        lines = [line.strip() for line in self.code.splitlines()]
        start = next(i for i, line in enumerate(lines) if line.startswith("#") and after in line)
        said = []
        for line in lines[start + 1 :]:
            if not line.startswith("# "):
                break
            said.append(line.removeprefix("# "))
        return said

    def _compiled(self, before: str) -> CodeType:
        shift = before.count("\n")
        code = "\n" * max(0, self.line - shift) + before + self.code
        compiled: CodeType = compile(
            code, self.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
        )
        return compiled


async def _inside(code: CodeType, namespace: dict[str, Any]) -> None:
    waiting = eval(code, namespace)
    if waiting is not None:
        await waiting


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        examples: its blocks of Python, by name.
        text: all of it.
    """

    examples: dict[str, Example]
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        examples: dict[str, Example] = {}
        headings: list[str] = []
        count = 0
        code: list[str] | None = None
        start = 0
        text = path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            heading = re.match(r"(##+) (.*)", line)
            if code is not None:
                if line == "```":
                    count += 1
                    name = f"{' / '.join(headings)}#{count}"
                    examples[name] = Example(name, "\n".join(code) + "\n", start, str(path))
                    code = None
                else:
                    code.append(line)
            elif line == "```python":
                code, start = [], number
            elif heading:
                depth = len(heading[1]) - 2
                headings = [*headings[:depth], _plain(heading[2])]
                count = 0
        return cls(examples, text)

    def table(self, first_cell: str) -> list[list[str]]:
        """The rows of the table whose head starts with this cell, without marks."""
        lines = iter(self.text.splitlines())
        for line in lines:
            if line.startswith(f"| {first_cell} |"):
                break
        next(lines)
        rows = []
        for line in lines:
            if not line.startswith("|"):
                break
            rows.append([re.sub(r"[*`]", "", cell).strip() for cell in line.split("|")[1:-1]])
        return rows


def _plain(heading: str) -> str:
    """A heading without pictures, marks and numbers: what it is called."""
    words = re.sub(r"[^\x00-\x7f]", "", heading)
    return re.sub(r"\(.*\)|[`*]|-> .*|^\s*\d+\. ", "", words).strip()
