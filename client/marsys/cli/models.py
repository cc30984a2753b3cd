"""`marsys models`."""

from __future__ import annotations

from typing import Annotated

import typer

from marsys.agents.exceptions import ModelAPIError
from marsys.cli._choice import BACKENDS
from marsys.cli._completion import provider_names
from marsys.cli._listing import context, facts, print_json, print_table, state
from marsys.cli._services import Service, api, local
from marsys.cli._terminal import dim, failures, say_error
from marsys.v1 import Model

_NOTHING = {
    "local": "no such model is loaded; load one: marsys load MODEL",
    "api": "no such model; a provider's are listed once the service has its key",
}


def models(
    words: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="Only models with this in their name.")
    ] = "",
    provider: Annotated[
        str,
        typer.Option(
            help="Only this provider's, such as openrouter or huggingface.",
            autocompletion=provider_names,
        ),
    ] = "",
    api_target: Annotated[
        str | None, typer.Option(help="Where api_service is. Default: MARSYS_API_TARGET.")
    ] = None,
    local_target: Annotated[
        str | None,
        typer.Option(help="Where local_inference_service is. Default: MARSYS_LOCAL_TARGET."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that may be asked.

    Exit status 1 where neither service answers.
    """
    found: list[tuple[Service, list[Model]]] = []
    with failures():
        services = [local(local_target), api(api_target)]
        if provider:
            services = services[:1] if provider in BACKENDS else services[1:]
        for service in services:
            try:
                listed = service.models(provider=provider)
            except ModelAPIError as error:
                error.message = f"{service.name}: {error.message}"
                say_error(error)
                continue
            wanted = [model for model in listed if words.lower() in model.name.lower()]
            found.append((service, wanted))
    pairs = [(service, model) for service, listed in found for model in listed]
    if as_json:
        print_json([{"service": service.name, **facts(model)} for service, model in pairs])
    else:
        _print(pairs)
        for service, listed in found:
            if not listed:
                dim(f"{service.name}: {_NOTHING[service.name]}")
    if not found:
        raise typer.Exit(1)


def _print(pairs: list[tuple[Service, Model]]) -> None:
    columns = ["model", "service", "state", "context", "takes"]
    rows = [
        [model.name, service.name, state(model), context(model), _takes(model)]
        for service, model in pairs
    ]
    print_table(columns, rows)


def _takes(model: Model) -> str:
    """What a model takes beside text, as far as is known."""
    capabilities = model.capabilities
    can = ["tools"] if capabilities.tools else []
    can += ["thinking"] if capabilities.reasoning else []
    return ", ".join([*can, *capabilities.input_modalities])
