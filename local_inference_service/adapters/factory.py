"""Makes the adapter for a backend and a kind of model."""

from __future__ import annotations

from typing import Any

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter


class LocalAdapterFactory:
    """Makes adapters."""

    @staticmethod
    def create_adapter(
        backend: str, model_name: str, model_class: str = "llm", **options: Any
    ) -> LocalProviderAdapter:
        """Load a model.

        Args:
            backend: "huggingface".
            model_name: hub name or directory.
            model_class: "llm".
            **options: the adapter's own parameters.

        Raises:
            ValueError: the backend or the kind of model isn't known.
            LoadError: the model can't be loaded.
        """
        if backend != "huggingface":
            raise ValueError(f"unknown backend {backend!r}: 'huggingface' is there")
        if model_class != "llm":
            raise ValueError(f"unknown model class {model_class!r}: 'llm' is there")
        return HuggingFaceLLMAdapter(model_name, **options)
