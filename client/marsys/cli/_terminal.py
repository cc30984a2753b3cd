"""What commands say on standard error, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import grpc
import typer
from rich.console import Console
from rich.text import Text

from marsys.agents.exceptions import AgentFrameworkError, ModelAPIError
from marsys.models._errors import from_call
from marsys.rpc.target import Target


def to_stderr() -> Console:
    """A console on standard error as it is now."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def dim(text: str) -> None:
    """Say something by the way."""
    to_stderr().print(Text(text, style="dim"))


def say_error(error: AgentFrameworkError) -> None:
    """An error in one line, and the next step in another where one is known."""
    console = to_stderr()
    console.print(Text.assemble(("marsys: ", "bold red"), error.message))
    request_id = error.request_id if isinstance(error, ModelAPIError) else None
    action = error.suggestion
    if request_id:
        action = f"{action} (request {request_id})" if action else f"request {request_id}"
    if action:
        console.print(Text(f"        {action}", style="dim"))


def fail(message: str, action: str = "") -> NoReturn:
    """End with exit status 1 and an error of one or two lines."""
    say_error(AgentFrameworkError(message, suggestion=action))
    raise typer.Exit(1)


@contextmanager
def failures() -> Iterator[None]:
    """Turn this package's errors into lines on standard error and exit status 1."""
    try:
        yield
    except AgentFrameworkError as error:
        say_error(error)
        raise typer.Exit(1) from None


@contextmanager
def call_errors(target: Target, timeout: float) -> Iterator[None]:
    """Turn gRPC's errors of calls to `target` into this package's."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_call(error, target, timeout) from None
