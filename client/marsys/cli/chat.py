"""`marsys chat`: one question, or a conversation."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsys.cli._answer import AnswerScreen
from marsys.cli._choice import Chooser
from marsys.cli._completion import model_names
from marsys.cli._conversation import Conversation
from marsys.cli._history import HISTORY_ENV, History, history_path
from marsys.cli._images import question, read_image
from marsys.cli._session import converse
from marsys.cli._terminal import failures
from marsys.cli._waiting import Waiting

if TYPE_CHECKING:
    from marsys.cli._tool_file import ToolFile


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Question. What is piped in goes before it; - is standard input alone. "
            "Without either: a conversation."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            envvar="MARSYS_MODEL",
            autocompletion=model_names,
            help="Model: a local one, or provider/model. Default: the first that is loaded.",
        ),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="Instructions.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            "-i",
            metavar="PATH",
            help="Image to ask about: path or URL. May be repeated.",
        ),
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py",
            help="Offer the public functions of a Python file as tools. They run without asking.",
        ),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to generate.")] = None,
    reasoning_effort: Annotated[
        str | None, typer.Option(help="How hard to think: none, minimal, low, ..., max.")
    ] = None,
    thinking: Annotated[
        bool, typer.Option("--thinking/--hide-thinking", help="Show the model's thinking, or not.")
    ] = True,
    use_api: Annotated[bool, typer.Option("--api", help="Use api_service.")] = False,
    use_local: Annotated[
        bool, typer.Option("--local", help="Use local_inference_service; loads the model.")
    ] = False,
    target: Annotated[
        str | None, typer.Option(help="Where the service is. Default: its MARSYS_..._TARGET.")
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history/--no-history",
            help=f"Keep what is typed in ~/.marsys/chat_history, or not. {HISTORY_ENV} names "
            "another file, or is off.",
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
) -> None:
    """Ask a model. Without a question: a conversation, with /help.

    The answer goes to standard output, all else to standard error.
    """
    if use_api and use_local:
        raise typer.BadParameter("--api and --local exclude each other")
    text = _question(prompt)
    if as_json and text is None:
        raise typer.BadParameter("needs a question", param_hint="--json")
    waiting = Waiting()
    with failures(), waiting, asyncio.Runner() as runner:
        knobs = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            "reasoning_effort": reasoning_effort,
        }
        chooser = Chooser(
            use_api=use_api, use_local=use_local, target=target, knobs=knobs, waiting=waiting
        )
        screen = None if as_json else AnswerScreen(waiting, thinking=thinking)
        offered = None if tools is None else _tool_file(tools)
        talk = Conversation(runner, chooser, model, waiting, screen, offered)
        talk.system = system or ""
        if text is None:
            path = history_path() if history else None
            converse(talk, image or [], None if path is None else History(path))
            return
        response = talk.ask(question(text, [read_image(each) for each in image or []]))
        if response is None:
            raise typer.Exit(130)
        if as_json:
            typer.echo(json.dumps(response, indent=2, ensure_ascii=False))


def _question(prompt: str | None) -> str | None:
    """The question: the argument, what is piped in, or both. None: a conversation is wanted."""
    if prompt not in (None, "-"):
        piped = _piped() if _holds_text() else ""
        return f"{piped}\n\n{prompt}" if piped else prompt
    if prompt is None and sys.stdin.isatty():
        return None
    piped = _piped()
    if not piped:
        raise typer.BadParameter("standard input holds no question", param_hint="PROMPT")
    return piped


def _holds_text() -> bool:
    """Whether standard input is a pipe or a file. Of anything else none knows when it ends."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _piped() -> str:
    try:
        text = sys.stdin.read().strip()
        text.encode()  # in some locales what can't be decoded comes as lone surrogates
    except UnicodeError:
        raise typer.BadParameter("standard input is no UTF-8 text", param_hint="PROMPT") from None
    return text


def _tool_file(path: Path) -> ToolFile:
    # Loads pydantic, which no other command needs.
    from marsys.cli._tool_file import ToolFile

    return ToolFile(path)
