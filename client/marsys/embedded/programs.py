"""The two services as programs: how they are started, and what must be installed for them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Program:
    """A service that this machine may have.

    Attributes:
        name: "api" or "local"; also the extra of the distribution that installs it.
        module: what `python -m` runs.
        libraries: without which it can't run.
        embedded_settings: its settings in embedded mode, where the user makes none: whoever calls
            an embedded service is its operator.
    """

    name: str
    module: str
    libraries: tuple[str, ...]
    embedded_settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """How the environment variables of its settings begin."""
        return f"MARSYS_{self.name.upper()}_"

    @property
    def missing(self) -> list[str]:
        """Which modules are not installed."""
        wanted = (self.module, *self.libraries)
        return [name for name in wanted if importlib.util.find_spec(name) is None]

    @property
    def remedy(self) -> str:
        """What to do where some are missing."""
        return f"pip install 'marsys-models[{self.name}]'"


PROGRAMS = {
    "api": Program(
        "api",
        "api_service",
        ("grpc_health", "grpc_reflection", "pydantic_settings", "aiohttp", "orjson"),
        {"GRACE": "5"},
    ),
    "local": Program(
        "local",
        "local_inference_service",
        ("grpc_health", "grpc_reflection", "pydantic_settings", "torch", "transformers"),
        {
            "GRACE": "5",
            "MODEL": "none",
            "EVICT_IDLE": "true",
            "ALLOW_REMOTE_CODE": "true",
            "ALLOW_MODEL_PATHS": f'["{os.sep}"]',
            "ALLOW_ENGINE_OPTIONS": '["*"]',
        },
    ),
}
