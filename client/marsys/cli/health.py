"""`marsys health`."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer

from marsys.cli._listing import print_json
from marsys.cli._services import api, local
from marsys.cli._terminal import call_errors, failures
from marsys.rpc.health import check


def health(
    target: Annotated[
        str | None,
        typer.Argument(
            help="Where to ask: api, local, or a target such as 127.0.0.1:50051. "
            "Default: api, which is MARSYS_API_TARGET, else 127.0.0.1:50051."
        ),
    ] = None,
    service: Annotated[
        str, typer.Option(help="Full name of one service, such as marsys.v1.InferenceService.")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask whether a service is healthy.

    Exit status 0 only where it says SERVING.
    """
    with failures():
        known = {"api": api, "local": local}
        connection = known[target]().connection if target in known else api(target).connection
        with call_errors(connection.target, timeout, target if target in known else None):
            try:
                status = check(connection, service, timeout)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                status = "SERVICE_UNKNOWN"
    if as_json:
        print_json({"target": str(connection.target), "service": service, "status": status})
    else:
        typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(1)
