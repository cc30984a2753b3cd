"""The Python API for models: local or remote, all alike.

from marsys.models import BaseAPIModel

model = BaseAPIModel("openrouter", "anthropic/claude-opus-4.6")
print(model.run("Hello!")["content"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marsys.models.api import BaseAPIModel
from marsys.models.local import BaseLocalModel
from marsys.models.response import HarmonizedResponse

if TYPE_CHECKING:
    from marsys.models.config import ModelConfig

__all__ = [
    "BaseAPIModel",
    "BaseLocalModel",
    "HarmonizedResponse",
    "ModelConfig",
    "create_model",
]


def create_model(config: ModelConfig, **kwargs: Any) -> BaseAPIModel | BaseLocalModel:
    """The model that a configuration describes.

    Args:
        config: of either type.
        **kwargs: further constructor arguments, such as `target`.

    Raises:
        ModelConfigurationError: the configuration can't be used.
    """
    cls = BaseAPIModel if config.type == "api" else BaseLocalModel
    return cls.from_config(config, **kwargs)


def __getattr__(name: str) -> Any:
    # pydantic is loaded only where a configuration is used.
    if name == "ModelConfig":
        from marsys.models.config import ModelConfig

        return ModelConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
