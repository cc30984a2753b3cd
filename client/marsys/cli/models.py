"""`marsys models`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table

from marsys.agents.exceptions import ModelAPIError
from marsys.cli._services import Service, api, local
from marsys.cli._terminal import failures, say_error
from marsys.v1 import Model, ModelState


def models(
    api_target: Annotated[
        str | None, typer.Option(help="Where api_service is. Default: MARSYS_API_TARGET.")
    ] = None,
    local_target: Annotated[
        str | None,
        typer.Option(help="Where local_inference_service is. Default: MARSYS_LOCAL_TARGET."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models of both services. Exit status 1 where neither answers."""
    with failures():
        services = [local(local_target), api(api_target)]
    found: list[tuple[Service, list[Model]]] = []
    for service in services:
        try:
            found.append((service, service.models()))
        except ModelAPIError as error:
            error.message = f"{service.name}: {error.message}"
            say_error(error)
    if as_json:
        rows = [_facts(service, model) for service, listed in found for model in listed]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(found)
    if not found:
        raise typer.Exit(1)


def _facts(service: Service, model: Model) -> dict[str, Any]:
    facts = MessageToDict(model, preserving_proto_field_name=True)
    return {"service": service.name, **facts, "state": _state(model)}


def _print_table(found: list[tuple[Service, list[Model]]]) -> None:
    console = Console(highlight=False)
    table = Table("service", "model", "provider", "state", "context", box=None, pad_edge=False)
    for service, listed in found:
        for model in listed:
            context = str(model.context_length) if model.HasField("context_length") else ""
            table.add_row(service.name, model.name, model.provider, _state(model), context)
    if table.row_count:
        if not console.is_terminal:
            console.width = 10_000  # who reads a pipe wants no row cut
        console.print(table)
    for service, listed in found:
        if not listed:
            typer.echo(f"{service.name}: no models listed", err=True)


def _state(model: Model) -> str:
    if model.state not in ModelState.values() or not model.state:
        return ""
    return ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()
