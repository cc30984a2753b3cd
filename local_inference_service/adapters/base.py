"""What every local backend offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

from marsys.v1 import GenerateRequest, StreamEvent


class LocalProviderAdapter(ABC):
    """A loaded model that answers requests.

    Attributes:
        model: the raw PyTorch model; None where the backend doesn't give it.
        tokenizer: the Hugging Face tokenizer; None where the backend doesn't give it.
    """

    model: Any = None
    tokenizer: Any = None

    @property
    @abstractmethod
    def supports_training(self) -> bool:
        """Whether `model` can be trained: True for huggingface, False for vllm."""

    @property
    @abstractmethod
    def backend(self) -> str:
        """Name of the backend: "huggingface" or "vllm"."""

    @property
    @abstractmethod
    def context_length(self) -> int | None:
        """Tokens of prompt and output together; None where unknown."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Memory that the weights take, in bytes."""

    @property
    @abstractmethod
    def supported_fields(self) -> frozenset[str]:
        """Paths of the GenerateRequest fields that the model takes, such as "config.top_k"."""

    @abstractmethod
    def generate(self, request: GenerateRequest, name: str) -> AsyncIterator[Sequence[StreamEvent]]:
        """Events of one generation, in batches of what came together.

        Cancelling the task that iterates stops the generation within one step.

        Args:
            request: a request that passed serving.validation.
            name: the model's name, as the answer gives it.

        Raises:
            ServiceError: the request can't be served.
        """

    @abstractmethod
    async def count_tokens(self, request: GenerateRequest, name: str) -> int:
        """Tokens of the request's prompt, template included.

        Raises:
            ServiceError: the prompt can't be made.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Generate once, so that the first caller doesn't pay for what is made on first use.

        Raises:
            Exception: the model can't generate.
        """

    @abstractmethod
    def close(self) -> None:
        """Fail what is running and release the model's memory."""
