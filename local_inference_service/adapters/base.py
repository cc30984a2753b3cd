"""What every local backend offers."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from local_inference_service.adapters.in_process import InProcess
from local_inference_service.output import Output
from local_inference_service.prompt import Prompt, room_for_answer
from local_inference_service.request_checks import check_fields
from marsys.v1 import GenerateRequest, GenerationConfig, ModelError, StreamEvent, Usage
from serving.event_writer import EventWriter, OpenPart

DEFAULT_MAX_TOKENS = 8192


class LocalProviderAdapter(InProcess, ABC):
    """A loaded model that answers requests.

    Attributes:
        model_name: hub name or directory.
        model: the raw PyTorch model; None where the backend doesn't give it.
        tokenizer: the Hugging Face tokenizer; None where the backend doesn't give it.
        max_tokens: most tokens of an answer whose request doesn't say.
        thinking_budget: most tokens of reasoning of an answer whose request doesn't say; taken by
            models that reason.
        on_health: set by who holds the adapter. Called, from any thread, with why the model can't
            answer for now when that begins, and with None when it can again.
    """

    model_name: str = ""
    model: Any = None
    tokenizer: Any = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    thinking_budget: int | None = None
    on_health: Callable[[ModelError | None], None] | None = None

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
        """Memory that the model takes, in bytes."""

    @property
    @abstractmethod
    def jobs(self) -> int:
        """How many requests are running or waiting."""

    @property
    @abstractmethod
    def supported_fields(self) -> frozenset[str]:
        """Paths of the GenerateRequest fields that the model takes, such as "config.top_k"."""

    @property
    def input_modalities(self) -> tuple[str, ...]:
        """Kinds of input beside text, such as "image"."""
        return ()

    @abstractmethod
    async def make_prompt(self, request: GenerateRequest, name: str) -> Prompt:
        """The conversation of a request by the model's own chat template, images included.

        Raises:
            ServiceError: the template doesn't take it, or an image can't be read.
        """

    @abstractmethod
    def decode(
        self, prompt: Prompt, config: GenerationConfig, max_tokens: int, name: str
    ) -> AsyncGenerator[Sequence[Output], None]:
        """Generate. Each item is what came together; the last output has `finish` set.

        Closing it, or cancelling the task that iterates, ends the work within one step.

        Args:
            prompt: what make_prompt gave.
            config: how to choose the tokens.
            max_tokens: most to generate; with the prompt they fit into the context.
            name: the model's name, for errors.

        Raises:
            ServiceError: the model is overloaded, out of memory, or has failed.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Generate once, so that the first caller doesn't pay for what is made on first use.

        Raises:
            Exception: the model can't generate.
        """

    @abstractmethod
    def close(self) -> None:
        """Fail what is running and release the model's memory. May be called twice."""

    async def generate(
        self, request: GenerateRequest, name: str
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        """Events of one generation, in batches of what came together.

        Args:
            request: a request that passed serving.validation.
            name: the model's name, as the answer gives it.

        Raises:
            ServiceError: the request can't be served.
        """
        writer = EventWriter()
        check_fields(request, name, writer)
        prompt = await self.make_prompt(request, name)
        read = len(prompt.ids)
        wanted = request.config.max_tokens or self.max_tokens
        room = room_for_answer(read, wanted, self.context_length, name, self.backend)
        writer.start(f"gen-{uuid.uuid4().hex}", name, self.backend)
        part: OpenPart | None = None
        async with aclosing(self.decode(prompt, request.config, room, name)) as steps:
            async for outputs in steps:
                for output in outputs:
                    if output.text:
                        part = part or writer.open("text")
                        writer.append(part, output.text)
                    if output.finish is not None:
                        _finish(writer, output, read)
                yield writer.take()

    async def count_tokens(self, request: GenerateRequest, name: str) -> int:
        """Tokens of the request's prompt, template and images included.

        Raises:
            ServiceError: the prompt can't be made.
        """
        check_fields(request, name, EventWriter())
        return len((await self.make_prompt(request, name)).ids)

    def _defaults_of_calls(self) -> dict[str, Any]:
        reasons = "config.reasoning.budget_tokens" in self.supported_fields
        return {"thinking_budget": self.thinking_budget} if reasons else {}


def _finish(writer: EventWriter, output: Output, read: int) -> None:
    assert output.finish is not None
    usage = Usage(input_tokens=read, output_tokens=output.tokens, total_tokens=read + output.tokens)
    if output.cached is not None:
        usage.cache_read_tokens = output.cached
    writer.finish(output.finish, output.raw_finish, stop_sequence=output.stop_sequence, usage=usage)
