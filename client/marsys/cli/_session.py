"""A conversation on the terminal."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import typer

from marsys.agents.exceptions import ModelError
from marsys.cli._answer import Shown, show
from marsys.cli._terminal import dim, say_error
from marsys.models import BaseAPIModel, BaseLocalModel

HELP = """\
/help     show this
/clear    forget the conversation
/quit     end; so does Ctrl-D
Ctrl-C    stop the answer, keep the conversation"""


def converse(
    model: BaseAPIModel | BaseLocalModel, messages: list[dict[str, Any]], images: list[str]
) -> None:
    """Talk with a model until the user ends it.

    Args:
        model: whom to talk with.
        messages: how the conversation begins, such as a system message.
        images: sent with the first question.
    """
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() its line editing and history)
    beginning = list(messages)
    dim(f"{model.model_name} - /help for help")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            typer.echo()
            continue
        if line == "/quit":
            return
        if line == "/clear":
            messages[:] = beginning
            dim("forgotten")
        elif line.startswith("/"):
            dim(HELP if line == "/help" else f"{line.split()[0]} is not known\n{HELP}")
        elif line:
            # Most Ctrl-Cs are taken while the answer is shown; one may come just before or after.
            with suppress(KeyboardInterrupt):
                _turn(model, messages, line, images)
            images = []


def _turn(
    model: BaseAPIModel | BaseLocalModel,
    messages: list[dict[str, Any]],
    line: str,
    images: list[str],
) -> None:
    """One question and its answer. A failed turn leaves no trace in the conversation."""
    question: dict[str, Any] = {"role": "user", "content": line}
    if images:
        parts: list[dict[str, Any]] = [{"type": "text", "text": line}]
        parts += [{"type": "image_url", "image_url": {"url": image}} for image in images]
        question["content"] = parts
    taken: list[str] = []
    try:
        stream = model.stream([*messages, question])
        shown = show(stream, taken)
    except ModelError as error:
        say_error(error)
        return
    if shown is Shown.INTERRUPTED:
        # What was said stands; without any answer the question is as if never asked.
        if taken:
            messages += [question, {"role": "assistant", "content": "".join(taken)}]
    elif stream.response is not None:
        messages += [question, stream.response]
