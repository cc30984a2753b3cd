"""Makes the adapter for a backend and a kind of model."""

from __future__ import annotations

from typing import Any

from local_inference_service.adapters.base import LocalProviderAdapter

BACKENDS = ("huggingface", "vllm")
CLASSES = ("llm", "vlm")


class LocalAdapterFactory:
    """Makes adapters."""

    @staticmethod
    def create_adapter(
        backend: str, model_name: str, model_class: str = "llm", **options: Any
    ) -> LocalProviderAdapter:
        """Load a model.

        Args:
            backend: "huggingface" or "vllm".
            model_name: hub name or directory.
            model_class: "llm" or "vlm".
            **options: the adapter's own parameters.

        Raises:
            ValueError: an argument is wrong; the text names it.
            TypeError: the adapter has no such parameter.
            LoadError: the model can't be loaded.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend must be huggingface or vllm; not {backend!r}")
        if model_class not in CLASSES:
            raise ValueError(f"model_class must be llm or vlm; not {model_class!r}")
        # Each is imported where it is used: they take seconds, and vllm may not be there.
        if backend == "vllm":
            from local_inference_service.adapters.vllm import VLLMAdapter

            return VLLMAdapter(model_name, model_class, **options)
        if model_class == "vlm":
            from local_inference_service.adapters.huggingface_vlm import HuggingFaceVLMAdapter

            return HuggingFaceVLMAdapter(model_name, **options)
        from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter

        return HuggingFaceLLMAdapter(model_name, **options)
