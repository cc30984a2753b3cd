"""What a person types: lines with editing and history, and text of several lines."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from marsys.agents.exceptions import ModelConfigurationError
from marsys.cli._history import History
from marsys.cli._terminal import dim

_QUOTES = '"""'


class Prompt:
    """Reads what the user types.

    A pasted text is one entry, however many lines it has. A line that ends with a backslash goes
    on, and so does one that begins with three quotes, up to three quotes.

    Args:
        history: where entries are kept; None: nowhere.
        complete: completes the line's last word: given the line and the word, all candidates.
    """

    def __init__(
        self, history: History | None, complete: Callable[[str, str], list[str]] | None = None
    ) -> None:
        self._history = history
        self._last = ""
        # Without a terminal on both sides Python's input() edits nothing, and prompts into what
        # may be a file.
        self._edits = sys.stdin.isatty() and sys.stdout.isatty()
        self._readline = _readline(complete) if self._edits else None
        if self._readline is not None and history is not None:
            for entry in history.entries():
                self._readline.add_history(entry)

    def read(self, prompt: str) -> str:
        """One entry, without the marks that hold its lines together.

        Raises:
            EOFError: Ctrl-D.
            KeyboardInterrupt: Ctrl-C; what was typed is dropped.
        """
        line = self._line(prompt)
        if line.lstrip().startswith(_QUOTES):
            text = self._quoted(line.lstrip().removeprefix(_QUOTES))
        else:
            lines = [line]
            while lines[-1].endswith("\\"):
                lines[-1] = lines[-1][:-1]
                lines.append(self._line("... "))
            text = "\n".join(lines)
        self._keep(text)
        return text

    def edit(self, beginning: str) -> str:
        """Text written in the user's editor ($VISUAL, $EDITOR, else vi).

        Raises:
            ModelConfigurationError: the editor can't be run.
        """
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory(prefix="marsys-") as directory:
            path = Path(directory) / "question.md"
            path.write_text(beginning, encoding="utf-8")
            try:
                status = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode  # noqa: S603
            except (OSError, ValueError) as error:
                raise ModelConfigurationError(
                    f"{editor!r} can't be run: {error}", suggestion="Set EDITOR to an editor."
                ) from None
            text = path.read_text(encoding="utf-8", errors="replace").strip()
        if status:
            raise ModelConfigurationError(f"{editor!r} ended with status {status}")
        if text:
            self._keep(text)
        return text

    def _quoted(self, line: str) -> str:
        lines = [line]
        while not lines[-1].rstrip().endswith(_QUOTES):
            lines.append(self._line("... "))
        lines[-1] = lines[-1].rstrip().removesuffix(_QUOTES)
        return "\n".join(lines).strip("\n")

    def _line(self, prompt: str) -> str:
        if self._edits:
            return input(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        return input()

    def _keep(self, text: str) -> None:
        if not text.strip() or text == self._last:
            return
        self._last = text
        if self._readline is not None:
            self._readline.add_history(text)
        if self._history is not None:
            try:
                self._history.add(text)
            except OSError as error:
                dim(f"note: the history can't be kept in {self._history.path}: {error.strerror}")
                self._history = None


def _readline(complete: Callable[[str, str], list[str]] | None) -> ModuleType | None:
    """The line editor of Python's input(), set up; None on Windows, whose console edits lines."""
    try:
        import readline
    except ImportError:
        return None
    readline.set_auto_history(False)  # entries, not lines
    uses_libedit = "libedit" in (readline.__doc__ or "")
    if not uses_libedit:
        # Python turns it off; with it a pasted newline is text and doesn't send half the paste.
        readline.parse_and_bind("set enable-bracketed-paste on")
    if complete is not None:
        readline.set_completer_delims(" \t\n")
        readline.parse_and_bind("bind ^I rl_complete" if uses_libedit else "tab: complete")
        readline.set_completer(_completer(complete, readline.get_line_buffer))
    return readline


def _completer(
    complete: Callable[[str, str], list[str]], line: Callable[[], str]
) -> Callable[[str, int], str | None]:
    """The form in which readline asks: for one candidate after the other."""
    found: list[str] = []

    def completer(word: str, state: int) -> str | None:
        nonlocal found
        if state == 0:
            found = []
            with suppress(Exception):  # a completion that fails completes nothing
                found = complete(line(), word)
        return found[state] if state < len(found) else None

    return completer
