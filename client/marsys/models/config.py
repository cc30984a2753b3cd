"""The configuration of a model: one schema for local and API models."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PROVIDERS = (
    "openai",
    "anthropic",
    "google",
    "openrouter",
    "xai",
    "openai-oauth",
    "anthropic-oauth",
)


class ModelConfig(BaseModel):
    """Unified configuration for all model types.

    What is not set is not sent, whatever its default here: the service fills in the same defaults
    where the model takes the parameter.

    Raises:
        pydantic.ValidationError: (a ValueError) a value is wrong, a field is not known, an API
            model has neither provider nor base_url, or a local model has no model_class.
    """

    # Errors don't repeat the input: it may hold the key.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    # Core settings
    type: Literal["local", "api"] = Field(description="Model type - local or API-based")
    name: str = Field(min_length=1, description="Model identifier or HuggingFace path")

    # API settings
    provider: str | None = Field(
        default=None,
        description="API provider (openai, anthropic, google, openrouter, xai, openai-oauth, "
        "anthropic-oauth)",
    )
    base_url: str | None = Field(default=None, description="Custom API endpoint URL")
    api_key: str | None = Field(
        default=None, repr=False, description="API key (auto-loaded from env if None)"
    )
    oauth_profile: str | None = Field(
        default=None, description="OAuth profile name for openai-oauth / anthropic-oauth"
    )
    credentials_path: str | None = Field(
        default=None,
        description="Credentials file on the service's machine, for openai-oauth / anthropic-oauth",
    )

    # Generation parameters
    max_tokens: int = Field(default=8192, ge=1, description="Maximum output tokens")
    temperature: float = Field(default=0.7, ge=0.0, le=2.0, description="Sampling temperature")
    top_p: float = Field(default=1.0, ge=0.0, le=1.0, description="Nucleus sampling parameter")
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0, description="Frequency penalty")
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0, description="Presence penalty")

    # Reasoning parameters
    thinking_budget: int | None = Field(
        default=1024,
        ge=0,
        description="Token budget for extended thinking (models with thinking support)",
    )
    reasoning_effort: str | None = Field(
        default="low",
        description="Reasoning effort level (low, medium, high; some models: none, minimal, xhigh, "
        "max)",
    )

    # Local model settings
    model_class: Literal["llm", "vlm"] | None = Field(
        default=None, description="Local model class (required for type='local')"
    )
    backend: Literal["huggingface", "vllm"] | None = Field(
        default="huggingface", description="Backend: 'huggingface' (dev) or 'vllm' (production)"
    )
    torch_dtype: str = Field(
        default="auto", description="PyTorch dtype (auto, float16, bfloat16, float32)"
    )
    device_map: str = Field(
        default="auto", description="Device mapping strategy (HuggingFace only)"
    )
    trust_remote_code: bool = Field(
        default=False, description="Whether the model's own Python code may run"
    )

    # vLLM-specific settings
    tensor_parallel_size: int | None = Field(
        default=1, ge=1, description="Number of GPUs for tensor parallelism (vLLM only)"
    )
    gpu_memory_utilization: float | None = Field(
        default=0.9, gt=0.0, le=1.0, description="GPU memory utilization fraction 0-1 (vLLM only)"
    )
    quantization: Literal["awq", "gptq", "fp8"] | None = Field(
        default=None, description="Quantization method (vLLM only)"
    )

    # Additional parameters
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Provider-specific parameters"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type == "local":
            if self.model_class is None:
                raise ValueError("model_class is required for type='local': 'llm' or 'vlm'")
            return self
        if self.provider is None and self.base_url is None:
            raise ValueError("provider or base_url is required for type='api'")
        if self.provider is not None and self.provider not in PROVIDERS and self.base_url is None:
            raise ValueError(
                f"provider {self.provider!r} is not known, so base_url is required; known are "
                + ", ".join(PROVIDERS)
            )
        return self
