"""`marsys serve`: the services as child processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Annotated

import typer

from marsys.cli._terminal import fail
from marsys.embedded.programs import PROGRAMS

_PAUSE = 0.1  # seconds between two looks at the children

serve = typer.Typer(
    help="Start a service, or both, and keep them until Ctrl-C.", no_args_is_help=True
)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

ApiAddress = Annotated[
    str | None, typer.Option("--address", help="Where to listen. Default: 127.0.0.1:50051.")
]
LocalAddress = Annotated[
    str | None, typer.Option("--address", help="Where to listen. Default: 127.0.0.1:50052.")
]
LocalModel = Annotated[
    str | None, typer.Option("--model", "-m", help="Model to load at the start.")
]


@serve.command("api", context_settings=_PASS_ON)
def serve_api(context: typer.Context, address: ApiAddress = None) -> None:
    """Start api_service. What stands after -- goes to it as it is."""
    _supervise({"api": [*_option("--address", address), *context.args]})


@serve.command("local", context_settings=_PASS_ON)
def serve_local(
    context: typer.Context, address: LocalAddress = None, model: LocalModel = None
) -> None:
    """Start local_inference_service. What stands after -- goes to it as it is."""
    options = [*_option("--address", address), *_option("--model", model)]
    _supervise({"local": [*options, *context.args]})


@serve.command("all", context_settings=_PASS_ON)
def serve_all(
    context: typer.Context,
    api_address: Annotated[str | None, typer.Option(help="Where api_service listens.")] = None,
    local_address: Annotated[
        str | None, typer.Option(help="Where local_inference_service listens.")
    ] = None,
    model: LocalModel = None,
) -> None:
    """Start both services; when one ends, so does the other. What stands after -- goes to both."""
    local_options = [*_option("--address", local_address), *_option("--model", model)]
    _supervise(
        {
            "api": [*_option("--address", api_address), *context.args],
            "local": [*local_options, *context.args],
        }
    )


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]


def _supervise(wanted: dict[str, list[str]]) -> None:
    """Run services until one ends or a signal comes; exits with the first failing status."""
    for name in wanted:
        _check_installed(name)
    children: list[subprocess.Popen[bytes]] = []
    stopping = False

    def stop(number: int, frame: FrameType | None = None) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    # Before the first child: a signal that comes while they start must reach them all.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for name, options in wanted.items():
        if not stopping:
            command = [sys.executable, "-m", PROGRAMS[name].module, *options]
            # Not in the terminal's group: Ctrl-C comes once, by way of this process.
            children.append(subprocess.Popen(command, start_new_session=True))  # noqa: S603
    while all(child.poll() is None for child in children) and not stopping:
        time.sleep(_PAUSE)
    # The status of whichever ended by itself says more than that of the one ended with it.
    children.sort(key=lambda child: child.returncode is None)
    if not stopping:
        stop(signal.SIGTERM)
    statuses = [_exit_status(child.wait()) for child in children]
    raise typer.Exit(next((status for status in statuses if status), 0))


def _exit_status(returncode: int) -> int:
    """As a shell has it: 128 and the signal's number where a signal ended the process."""
    return returncode if returncode >= 0 else 128 - returncode


def _check_installed(name: str) -> None:
    program = PROGRAMS[name]
    if program.missing:
        fail(
            f"the {name} service needs what is not installed: {', '.join(program.missing)}",
            f"Run: {program.remedy}",
        )
