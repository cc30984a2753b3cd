"""The Python API for models: local or remote, all alike.

from marsys.models import BaseAPIModel

model = BaseAPIModel("openrouter", "anthropic/claude-opus-4.6")
print(model.run("Hello!")["content"])
"""

from __future__ import annotations

from importlib import import_module
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
    "HuggingFaceLLMAdapter",
    "HuggingFaceVLMAdapter",
    "LocalAdapterFactory",
    "LocalProviderAdapter",
    "ModelConfig",
    "VLLMAdapter",
    "create_model",
]

# Models held in the caller's own process, for training: with the local service's libraries alone.
_ADAPTERS = {
    "HuggingFaceLLMAdapter": "huggingface_llm",
    "HuggingFaceVLMAdapter": "huggingface_vlm",
    "LocalAdapterFactory": "factory",
    "LocalProviderAdapter": "base",
    "VLLMAdapter": "vllm",
}


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
    if name in _ADAPTERS:
        try:
            module = import_module(f"local_inference_service.adapters.{_ADAPTERS[name]}")
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{name} needs {error.name}: pip install 'marsys-models[local]'"
            ) from error
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
