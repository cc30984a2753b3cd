"""`marsys health`."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer

from marsys.cli._services import api
from marsys.cli._terminal import call_errors, failures
from marsys.rpc.health import check


def health(
    target: Annotated[
        str | None,
        typer.Argument(help="Where to ask. Default: MARSYS_API_TARGET, else 127.0.0.1:50051."),
    ] = None,
    service: Annotated[
        str, typer.Option(help="Full name of one service, such as marsys.v1.InferenceService.")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")] = 5.0,
) -> None:
    """Ask whether a service is healthy: exit status 0 only where it says SERVING."""
    with failures():
        connection = api(target).connection
        with call_errors(connection.target, timeout):
            try:
                status = check(connection, service, timeout)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                status = "SERVICE_UNKNOWN"
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(1)
