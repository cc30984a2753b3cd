"""One adapter a backend: a loaded model that answers requests."""

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.adapters.factory import LocalAdapterFactory
from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter

__all__ = ["HuggingFaceLLMAdapter", "LocalAdapterFactory", "LocalProviderAdapter"]
