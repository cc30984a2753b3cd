"""Settings of local_inference_service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from local_inference_service.embedded import EMBEDDED_MODEL
from serving.settings import ServerSettings, settings_config


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
    torch_dtype: str = Field(
        default="auto", description="Type of that model's weights: auto, float32, bfloat16, float16"
    )
    device_map: str = Field(
        default="auto", description="Where that model's weights go: auto, cpu, cuda, cuda:0, ..."
    )
    max_active: int = Field(
        default=8, ge=1, description="Requests of one model that run side by side"
    )
    max_queued: int = Field(default=64, ge=0, description="Requests of one model that wait")
    allow_model_paths: list[Path] = Field(
        default_factory=list, description="Directories below which callers may load models"
    )
    allow_remote_code: bool = Field(
        default=False, description="Whether the Python code of models may run"
    )
