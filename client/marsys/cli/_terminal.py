"""What commands say on standard error, and how they fail."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NoReturn

import grpc
import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from marsys.agents.exceptions import AgentFrameworkError, ModelAPIError
from marsys.cli._hints import next_step
from marsys.models._errors import from_call
from marsys.rpc.target import Target

_CALLERS = ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNIMPLEMENTED")
# Control characters, but for tab and newline: a model's words must not steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text that is safe to show on a terminal."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


@cache
def to_stderr() -> Console:
    """The console on standard error. One for all: what is said while it draws goes above that."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: Text, indent: int = 0) -> None:
    """Say something on standard error: wrapped at words on a terminal, one line in a pipe."""
    console = to_stderr()
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent), expand=False), soft_wrap=False)
    else:
        console.print(Text(" " * indent).append(text))


def dim(text: str) -> None:
    """Say something by the way."""
    say(Text(plain(text), style="dim"))


def say_error(error: AgentFrameworkError) -> None:
    """An error in one line, and the next step in another where one is known."""
    say(Text.assemble(("marsys: ", "bold red"), plain(error.message)))
    action = next_step(error)
    # Where the caller is at fault there is nothing to look up in the service's log.
    blames_caller = isinstance(error, ModelAPIError) and error.grpc_code in _CALLERS
    request_id = error.request_id if isinstance(error, ModelAPIError) else None
    if request_id and not blames_caller:
        action = f"{action} (request {request_id})" if action else f"request {request_id}"
    if action:
        say(Text(plain(action), style="dim"), indent=8)


def fail(message: str, action: str = "") -> NoReturn:
    """End with exit status 1 and an error of one or two lines."""
    say_error(AgentFrameworkError(message, suggestion=action))
    raise typer.Exit(1)


@contextmanager
def failures() -> Iterator[None]:
    """Turn this package's errors into lines on standard error and exit status 1; Ctrl-C into 130.

    Its warnings, such as an attempt that failed and is repeated, become dimmed lines.
    """
    log = logging.getLogger("marsys")
    notes = _Notes(logging.WARNING)
    log.addHandler(notes)
    try:
        yield
    except AgentFrameworkError as error:
        say_error(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        dim("interrupted")
        raise typer.Exit(130) from None
    finally:
        log.removeHandler(notes)


@contextmanager
def call_errors(target: Target, timeout: float | None, start: str | None = None) -> Iterator[None]:
    """Turn gRPC's errors of calls to `target` into this package's.

    Args:
        target: where the calls go.
        timeout: how long each may take, in seconds; None: without end.
        start: what `marsys serve` calls the service.
    """
    try:
        yield
    except grpc.RpcError as error:
        failure = from_call(error, target, timeout)
        if start and failure.message.startswith("no service answers"):
            failure.suggestion = f"Start it: marsys serve {start}"
        raise failure from None


class _Notes(logging.Handler):
    """Shows what is logged as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        dim(f"note: {record.getMessage()}")
