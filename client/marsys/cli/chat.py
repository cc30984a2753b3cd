"""`marsys chat`: one question, or a conversation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from marsys.cli._answer import Shown, show
from marsys.cli._loading import LoadingBar
from marsys.cli._services import local, models_or_none
from marsys.cli._session import converse
from marsys.cli._terminal import fail, failures
from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.v1 import ModelState

_BACKENDS = ("huggingface", "vllm")


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(help="Question. Default: standard input if piped, else a conversation."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model: a local one, or provider/model. Default: the first that is loaded.",
        ),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="Instructions.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to generate.")] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="Image to ask about: path or URL. May be repeated.")
    ] = None,
    use_api: Annotated[bool, typer.Option("--api", help="Use api_service.")] = False,
    use_local: Annotated[
        bool, typer.Option("--local", help="Use local_inference_service.")
    ] = False,
    target: Annotated[
        str | None, typer.Option(help="Where the service is. Default: its MARSYS_..._TARGET.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
) -> None:
    """Ask a model. Without a question: a conversation, with /help."""
    if use_api and use_local:
        raise typer.BadParameter("--api and --local exclude each other")
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise typer.BadParameter("standard input holds no question", param_hint="PROMPT")
    if as_json and prompt is None:
        raise typer.BadParameter("needs a question", param_hint="--json")
    knobs = {"temperature": temperature, "max_tokens": max_tokens}
    with failures():
        chosen = choose(model, use_api=use_api, use_local=use_local, target=target, knobs=knobs)
        messages: list[dict[str, Any]] = []
        if system:
            messages.append({"role": "system", "content": system})
        if prompt is None:
            converse(chosen, messages, images=image or [])
            return
        messages.append({"role": "user", "content": prompt})
        if as_json:
            response = chosen.run(messages, images=image)
            typer.echo(json.dumps(response, indent=2, ensure_ascii=False))
            return
        if show(chosen.stream(messages, images=image)) is Shown.INTERRUPTED:
            raise typer.Exit(130)


def choose(
    model: str | None,
    *,
    use_api: bool,
    use_local: bool,
    target: str | None,
    knobs: dict[str, Any],
) -> BaseAPIModel | BaseLocalModel:
    """The model to talk to.

    A name that local_inference_service knows, or that is a directory here, is a local model; any
    other is "provider/model" on api_service.
    """
    if use_api:
        if model is None:
            fail("--api needs a model", "Give it with -m provider/model.")
        return BaseAPIModel(model_name=model, target=target, **knobs)
    # A target may be api_service after all: its models have a provider, not a backend.
    models = models_or_none(local(target))
    listed = [entry for entry in models or [] if entry.provider in _BACKENDS]
    if model is None:
        ready = [entry.name for entry in listed if entry.state == ModelState.MODEL_STATE_READY]
        if not ready:
            fail(
                "no model was named, and none is loaded locally",
                "Give one with -m, or start one: marsys serve local",
            )
        model = ready[0]
    is_local = model in {entry.name for entry in listed} or Path(model).is_dir()
    if use_local or is_local:
        return BaseLocalModel(model, target=target, on_load=LoadingBar(model), **knobs)
    if "/" not in model and target and models is None:
        fail(f"no service answers at {target}", "Start it, or give another --target.")
    if "/" not in model:
        fail(
            f"no local model is named {model!r}",
            "See `marsys models`; load it with --local, or give provider/model.",
        )
    return BaseAPIModel(model_name=model, target=target, **knobs)
