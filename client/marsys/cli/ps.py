"""`marsys ps`: what local_inference_service has loaded."""

from __future__ import annotations

from typing import Annotated

import typer

from marsys.cli._listing import (
    backend,
    context,
    facts,
    kind,
    memory,
    print_json,
    print_table,
    state,
)
from marsys.cli._services import local
from marsys.cli._terminal import dim, failures
from marsys.v1 import Model


def ps(
    target: Annotated[
        str | None,
        typer.Option(help="Where local_inference_service is. Default: MARSYS_LOCAL_TARGET."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which local models are loaded.

    Also those being loaded and those that failed. Memory is of the weights.
    """
    with failures():
        models = local(target).models()
    if as_json:
        print_json([facts(model) for model in models])
        return
    print_table(["model", "state", "backend", "kind", "memory", "context"], [*map(_row, models)])
    for model in models:
        if model.HasField("error"):
            told = model.error.message
            dim(told if model.name in told else f"{model.name}: {told}")
    if not models:
        dim("no model is loaded; load one: marsys load MODEL")


def _row(model: Model) -> list[str]:
    options = model.load_options
    known = model.HasField("load_options")
    return [
        model.name,
        state(model),
        backend(options) if known else model.provider,
        kind(options) if known else "",
        memory(model),
        context(model),
    ]
