"""A conversation on the terminal."""

from __future__ import annotations

import sys
from contextlib import suppress

from marsys.agents.exceptions import ModelError
from marsys.cli._commands import Commands, End
from marsys.cli._conversation import Conversation
from marsys.cli._history import History
from marsys.cli._images import question
from marsys.cli._input import Prompt
from marsys.cli._terminal import dim, say_error


def converse(talk: Conversation, images: list[str], history: History | None) -> None:
    """Talk with a model until the user ends it.

    Args:
        talk: the conversation.
        images: sent with the first question: paths or URLs.
        history: where the questions are kept; None: nowhere.
    """
    commands = Commands(talk)
    for image in images:
        commands.do(f"/image {image}")
    prompt = commands.prompt = Prompt(history, commands.complete)
    dim(f"{talk.model.model_name} - /help for help, Ctrl-D to end")
    while True:
        try:
            line = prompt.read(_words(commands))
        except EOFError:
            sys.stderr.write("\n")
            return
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            continue
        # Ctrl-C ends what is being done; most of them are taken where it is done.
        with suppress(KeyboardInterrupt):
            try:
                _do(talk, commands, line)
            except End:
                return
            except ModelError as error:
                say_error(error)


def _do(talk: Conversation, commands: Commands, line: str) -> None:
    if line.startswith("/"):
        commands.do(line)
        line, commands.question = commands.question, ""
    if text := line.strip():
        images, commands.images = commands.images, []
        try:
            talk.ask(question(text, images))
        except ModelError:
            commands.images = images  # for the next try
            raise


def _words(commands: Commands) -> str:
    count = len(commands.images)
    return "> " if not count else f"[{count} image{'s' if count > 1 else ''}] > "
