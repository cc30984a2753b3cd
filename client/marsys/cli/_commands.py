"""What begins with a slash in a conversation."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marsys.agents.exceptions import ModelConfigurationError
from marsys.cli._conversation import Conversation
from marsys.cli._images import read_image
from marsys.cli._input import Prompt
from marsys.cli._terminal import dim

HELP = """\
/model [NAME]    show the model, or go on with another
/image PATH      add an image, by path or URL, to the next question
/system [TEXT]   show the instructions, or set them
/tools           show what the model may call
/edit            write the question in $EDITOR
/clear           forget the conversation
/help            show this
/quit            end; so does Ctrl-D
\"\"\"              begins and ends a question of several lines
\\                at the end of a line: the question goes on
Ctrl-C           stop the answer, keep the conversation
Tab              complete a command, a model, or a path"""


class End(Exception):
    """The user ends the session."""


class Commands:
    """Does what slash commands say.

    Attributes:
        images: parts of the next question.
        question: what is to be asked now, from /edit; else empty.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.images: list[dict[str, Any]] = []
        self.question = ""
        self._talk = conversation
        self._known: list[str] | None = None
        self._commands: dict[str, Callable[[str], None]] = {
            "/model": self._model,
            "/image": self._image,
            "/system": self._system,
            "/tools": self._tools,
            "/edit": self._edit,
            "/clear": self._clear,
            "/help": lambda rest: dim(HELP),
            "/?": lambda rest: dim(HELP),
            "/quit": self._quit,
            "/exit": self._quit,
            "/bye": self._quit,
        }
        self.prompt: Prompt | None = None

    def do(self, line: str) -> None:
        """Do a command.

        Raises:
            End: it was /quit.
            ModelError: it can't be done.
        """
        name, _, rest = line.strip().partition(" ")
        command = self._commands.get(name)
        if command is None:
            dim(f"{name} is no command; /help lists them. To send it, begin with a space.")
            return
        command(rest.strip())

    def complete(self, line: str, word: str) -> list[str]:
        """All that the last word of a line may become."""
        name, space, _ = line.partition(" ")
        if not space:
            return [f"{each} " for each in self._commands if each.startswith(word)]
        if name == "/model":
            if self._known is None:
                self._known = self._talk.chooser.names()
            return [each for each in self._known if each.startswith(word)]
        if name == "/image":
            return _paths(word)
        return []

    def _model(self, name: str) -> None:
        if not name:
            current = self._talk.model.model_name
            others = [each for each in self._talk.chooser.names() if each != current]
            dim(f"{current}; /model NAME goes on with another, such as:")
            for each in others:
                dim(f"  {each}{'MODEL' if each.endswith('/') else ''}")
            return
        self._talk.switch(name)
        kept = "" if self._talk.empty else "; it sees the conversation so far"
        dim(f"now {self._talk.model.model_name}{kept}")

    def _image(self, source: str) -> None:
        if not source:
            raise ModelConfigurationError("/image: which one?", suggestion="/image PATH or URL")
        try:
            words = shlex.split(source)
        except ValueError:
            words = []
        # A path with spaces may come bare, quoted, or escaped as terminals drop it.
        bare = Path(source).expanduser()
        self.images.append(read_image(source if bare.exists() or not words else words[0]))
        dim("the next question takes it along")

    def _system(self, text: str) -> None:
        if not text:
            dim(self._talk.system or "no instructions are set")
            return
        self._talk.system = text
        dim("set")

    def _tools(self, _: str) -> None:
        tools = self._talk.tools
        if tools is None:
            dim("none; begin with --tools FILE.py to offer the file's functions")
            return
        for definition in tools.definitions:
            facts = definition["function"]
            first = facts["description"].partition("\n")[0]
            dim(f"{facts['name']}({', '.join(facts['parameters']['properties'])})  {first}")

    def _edit(self, _: str) -> None:
        if self.prompt is not None:
            self.question = self.prompt.edit("")

    def _clear(self, _: str) -> None:
        self._talk.forget()
        self.images.clear()
        dim("forgotten")

    def _quit(self, _: str) -> None:
        raise End


def _paths(word: str) -> list[str]:
    found = glob.glob(glob.escape(str(Path(word).expanduser()) if word[:1] == "~" else word) + "*")
    return [f"{path}/" if Path(path).is_dir() else path for path in sorted(found)]
