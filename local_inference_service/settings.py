"""Settings of local_inference_service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from local_inference_service.embedded import EMBEDDED_MODEL
from local_inference_service.media_rules import MediaRules
from serving.settings import ServerSettings, settings_config


def _object_of(value: object) -> object:
    """A JSON text's value; what came as a table is left as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError as error:
        raise ValueError(f"must be a JSON object: {error}") from None


class LocalSettings(ServerSettings):
    """Hosts models on this machine behind marsys.v1."""

    model_config = settings_config("MARSYS_LOCAL_")

    address: str = Field(
        default="127.0.0.1:50052",
        description="Where to listen: HOST:PORT (port 0: any free one) or unix:PATH",
    )
    model: str = Field(
        default=EMBEDDED_MODEL,
        min_length=1,
        description="Model to load at start: a hub name, a directory, or 'none'",
    )
    model_class: Literal["llm", "vlm"] = Field(
        default="llm", description="What that model is: llm (text) or vlm (text and images)"
    )
    backend: Literal["huggingface", "vllm"] = Field(
        default="huggingface", description="What runs that model"
    )
    revision: str = Field(default="", description="Branch, tag or commit of that model on the hub")
    torch_dtype: str = Field(
        default="auto", description="Type of that model's weights: auto, float32, bfloat16, float16"
    )
    device_map: str = Field(
        default="auto",
        description="Where that model's weights go: auto, cpu, cuda, cuda:0, ... (huggingface)",
    )
    max_model_len: int | None = Field(
        default=None, ge=1, description="Longest prompt and output of that model, in tokens"
    )
    tensor_parallel_size: int | None = Field(
        default=None, ge=1, description="GPUs that share that model (vllm; default: 1)"
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of GPU memory to use (vllm; default: 0.9)"
    )
    quantization: Literal["", "awq", "gptq", "fp8"] = Field(
        default="", description="Quantization of that model (vllm)"
    )
    engine_options: Annotated[Mapping[str, Any], BeforeValidator(_object_of)] = Field(
        default_factory=dict,
        description="Further arguments of that model's engine, as a JSON object",
    )
    pin_model: bool = Field(
        default=True, description="Whether that model stays when unused models are dropped"
    )
    max_active: int | None = Field(
        default=None,
        ge=1,
        description="Requests of one model that run side by side (default: 16; vllm: its own)",
    )
    max_queued: int = Field(default=64, ge=0, description="Requests of one model that wait")
    memory_budget: ByteSize | None = Field(
        default=None,
        gt=0,
        description="Memory that all models may take, such as 12GiB, on the accelerator, or where "
        "there is none on the machine (default: 95% of the accelerator's, 80% of the machine's)",
    )
    max_models: int = Field(
        default=0, ge=0, description="Most models that are loaded at a time; 0: no limit"
    )
    evict_idle: bool = Field(
        default=False,
        description="Whether unused models are dropped to make room, the least recently used first",
    )
    idle_unload: float = Field(
        default=0, ge=0, description="Seconds after which an unused model is dropped; 0: never"
    )
    allow_load: bool | None = Field(
        default=None,
        description="Whether callers may load and unload models (default: where only this machine "
        "can reach the address)",
    )
    allow_model_paths: list[Path] = Field(
        default_factory=list, description="Directories below which callers may load models"
    )
    allow_remote_code: bool = Field(
        default=False, description="Whether the Python code of models may run"
    )
    allow_engine_options: list[str] = Field(
        default_factory=list,
        description="Options of vLLM's engine that callers may set beside those that only tune it; "
        "'*': all",
    )
    allow_image_urls: list[str] = Field(
        default_factory=list, description="URLs beneath which images are fetched for callers"
    )
    allow_image_paths: list[Path] = Field(
        default_factory=list, description="Directories below which callers may name image files"
    )

    @model_validator(mode="after")
    def _check_backend(self) -> Self:
        huggingface = self.backend == "huggingface"
        names = ("tensor_parallel_size", "gpu_memory_utilization", "quantization")
        for name in names if huggingface else ("device_map",):
            if getattr(self, name) not in (None, "", "auto"):
                other = "vllm" if huggingface else "huggingface"
                raise ValueError(f"{name} is taken by backend {other} only, not {self.backend}")
        return self

    @model_validator(mode="after")
    def _check_media(self) -> Self:
        try:
            _ = self.media_rules
        except ValueError as error:
            raise ValueError(str(error).replace("allow_urls", "allow_image_urls", 1)) from None
        return self

    @property
    def media_rules(self) -> MediaRules:
        """Where the images of callers' requests may come from."""
        return MediaRules(
            allow_paths=tuple(self.allow_image_paths), allow_urls=tuple(self.allow_image_urls)
        )

    @property
    def loading_allowed(self) -> bool:
        """Whether callers may load and unload models."""
        return self.loopback if self.allow_load is None else self.allow_load
