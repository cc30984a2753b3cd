"""`marsys load` and `marsys unload`."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration

from marsys.agents.exceptions import ModelAPIError
from marsys.cli._completion import local_names
from marsys.cli._listing import facts, memory, print_json
from marsys.cli._services import local
from marsys.cli._terminal import call_errors, dim, failures
from marsys.cli._waiting import Waiting
from marsys.models import BaseLocalModel
from marsys.rpc.channel import loop_stubs
from marsys.v1 import LoadModelResponse, Model, UnloadModelRequest

Target = Annotated[
    str | None,
    typer.Option(help="Where local_inference_service is. Default: MARSYS_LOCAL_TARGET."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load(
    model: Annotated[
        str, typer.Argument(help="Hub name, or a directory.", autocompletion=local_names)
    ],
    backend: Annotated[
        str, typer.Option("--backend", "-b", help="huggingface or vllm.")
    ] = "huggingface",
    model_class: Annotated[
        str, typer.Option(help="llm, or vlm for a model that sees images.")
    ] = "llm",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    torch_dtype: Annotated[
        str | None, typer.Option(help="auto, float32, float16 or bfloat16.")
    ] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0, ...")] = None,
    max_model_len: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt and output, in tokens.")
    ] = None,
    quantization: Annotated[str | None, typer.Option(help="awq, gptq or fp8.")] = None,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(min=1, help="GPUs to share the model (vllm).")
    ] = None,
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(help="Share of the GPU's memory to use (vllm).")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the model's own code.")
    ] = False,
    engine_options: Annotated[
        str | None, typer.Option(metavar="JSON", help="Further options of the engine.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to wait. Default: without end.")
    ] = None,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Load a local model and show how it goes.

    Ctrl-C stops watching; the load goes on.
    """
    options: dict[str, Any] = {
        "revision": revision,
        "torch_dtype": torch_dtype,
        "device_map": device_map,
        "max_model_len": max_model_len,
        "quantization": quantization,
        "tensor_parallel_size": tensor_parallel_size,
        "gpu_memory_utilization": gpu_memory_utilization,
        "trust_remote_code": trust_remote_code or None,
        "engine_options": _object(engine_options),
    }
    if Path(model).expanduser().is_dir():
        model = os.path.abspath(Path(model).expanduser())  # the service works elsewhere
    began = time.monotonic()
    loaded = Model(name=model)
    stages: set[int] = set()

    def watch(response: LoadModelResponse) -> None:
        stages.add(response.stage)
        waiting.loading(model, response)
        if response.HasField("model"):
            loaded.CopyFrom(response.model)

    with failures(), Waiting() as waiting:
        wanted = BaseLocalModel(
            model, model_class, backend, target=target, on_load=watch, timeout=timeout, **options
        )
        waiting.spin(f"{model}: loading")
        try:
            asyncio.run(wanted.aload())
        except KeyboardInterrupt:
            waiting.stop()
            dim("the load goes on in the service; see: marsys ps")
            raise
    if as_json:
        print_json(facts(loaded))
        return
    words = [f"{loaded.name} is ready", memory(loaded), f"{time.monotonic() - began:.1f} s"]
    if len(stages) == 1:
        words = [f"{loaded.name} was loaded already", memory(loaded)]
    typer.echo(", ".join(word for word in words if word))


def unload(
    model: Annotated[
        str, typer.Argument(help="Name, as `marsys ps` shows it.", autocompletion=local_names)
    ],
    drain: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds that running answers still get. Default: until they end."
        ),
    ] = None,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Unload a local model once its running answers have ended."""
    with failures(), Waiting() as waiting:
        waiting.spin(f"{model}: unloading")
        try:
            asyncio.run(_unload(model, drain, target))
        except ModelAPIError as error:
            if error.reason == "INVALID_MODEL":
                error.suggestion = "What is loaded: marsys ps"
            raise
    if as_json:
        print_json({"name": model, "state": "unloaded"})
    else:
        typer.echo(f"{model} is unloaded")


async def _unload(model: str, drain: float | None, target: str | None) -> None:
    connection = local(target).connection
    request = UnloadModelRequest(model=model)
    if drain is not None:
        wait = Duration()
        wait.FromNanoseconds(int(drain * 1e9))
        request.drain_timeout.CopyFrom(wait)
    stubs = await loop_stubs(connection)
    with call_errors(connection.target, None, start="local"):
        await stubs.models.UnloadModel(request, metadata=connection.metadata)


def _object(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint="--engine-options") from None
