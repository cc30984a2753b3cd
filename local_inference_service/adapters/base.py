"""What every local backend offers."""

from __future__ import annotations

import asyncio
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from local_inference_service.adapters.in_process import InProcess
from local_inference_service.answer import AnswerWriter
from local_inference_service.chat import Chat, Turn
from local_inference_service.constraints import (
    Compiler,
    Grammar,
    grammar_of,
    is_bound,
    may_loosen,
)
from local_inference_service.output import Output
from local_inference_service.prompt import Prompt, room_for_answer
from local_inference_service.request_checks import check_fields, fields_of
from marsys.v1 import (
    ErrorReason,
    GenerateRequest,
    GenerationConfig,
    ModelError,
    StreamEvent,
    WarningCode,
)
from serving.errors import ServiceError, service_error
from serving.event_writer import EventWriter

T = TypeVar("T")

DEFAULT_MAX_TOKENS = 8192
DEFAULT_THINKING_BUDGET = 1024


class LocalProviderAdapter(InProcess, ABC):
    """A loaded model that answers requests.

    Attributes:
        model_name: hub name or directory.
        model: the raw PyTorch model; None where the backend doesn't give it.
        tokenizer: the Hugging Face tokenizer; None where the backend doesn't give it.
        chat: how the model holds a conversation.
        max_tokens: most tokens of an answer whose request doesn't say.
        thinking_budget: most tokens of reasoning of an answer whose request doesn't say; taken by
            models that reason. None: 1024.
        on_health: set by who holds the adapter. Called, from any thread, with why the model can't
            answer for now when that begins, and with None when it can again.
    """

    model_name: str = ""
    model: Any = None
    tokenizer: Any = None
    chat: Chat
    max_tokens: int = DEFAULT_MAX_TOKENS
    thinking_budget: int | None = None
    on_health: Callable[[ModelError | None], None] | None = None

    # Tokenizers can't be used by two threads at once.
    _tokenizing: ThreadPoolExecutor
    _compiler: Compiler | None = None

    def __init__(self) -> None:
        self._compiler_lock = threading.Lock()

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
    def supported_fields(self) -> frozenset[str]:
        """Paths of the GenerateRequest fields that the model takes, such as "config.top_k"."""
        return fields_of(self.chat)

    @property
    def input_modalities(self) -> tuple[str, ...]:
        """Kinds of input beside text, such as "image"."""
        return ()

    @abstractmethod
    async def make_prompt(self, request: GenerateRequest, turn: Turn, name: str) -> Prompt:
        """What the model reads: the tokens of the turn's prompt, and the request's images.

        Raises:
            ServiceError: an image can't be read.
        """

    @abstractmethod
    def decode(
        self, prompt: Prompt, turn: Turn, config: GenerationConfig, max_tokens: int, name: str
    ) -> AsyncGenerator[Sequence[Output], None]:
        """Generate. Each item is what came together; the last output has `finish` set.

        Closing it, or cancelling the task that iterates, ends the work within one step.

        Args:
            prompt: what make_prompt gave.
            turn: what is asked.
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
        turn, prompt = await self._read(request, name, writer)
        if is_bound(request):
            turn = await asyncio.to_thread(self._bound, turn, request, writer)
        read = len(prompt.ids)
        wanted = request.config.max_tokens or self.max_tokens
        room = room_for_answer(read, wanted, self.context_length, name, self.backend)
        writer.start(f"gen-{uuid.uuid4().hex}", name, self.backend)
        answer = AnswerWriter(writer, turn.parser(), read, turn.tools, turn.parallel)
        async with aclosing(self.decode(prompt, turn, request.config, room, name)) as steps:
            async for outputs in steps:
                for output in outputs:
                    answer.take(output)
                yield writer.take()
                if answer.finished:
                    return

    async def count_tokens(self, request: GenerateRequest, name: str) -> int:
        """Tokens of the request's prompt, template, tools and images included.

        Raises:
            ServiceError: the prompt can't be made.
        """
        return len((await self.prompt_of(request, name)).ids)

    async def prompt_of(self, request: GenerateRequest, name: str) -> Prompt:
        """What the model reads of a request.

        Raises:
            ServiceError: the prompt can't be made.
        """
        _, prompt = await self._read(request, name, EventWriter())
        return prompt

    async def _read(
        self, request: GenerateRequest, name: str, writer: EventWriter
    ) -> tuple[Turn, Prompt]:
        check_fields(request, name, self.chat, writer)
        budget = self.thinking_budget
        if budget is None:
            budget = DEFAULT_THINKING_BUDGET
        turn = await self._in_tokenizer_thread(lambda: self.chat.turn(request, name, budget))
        return turn, await self.make_prompt(request, turn, name)

    @abstractmethod
    def _make_compiler(self) -> Compiler:
        """What compiles grammars for the model's tokenizer."""

    @property
    def compiler(self) -> Compiler:
        """What compiles grammars for this model; made when it is first needed."""
        with self._compiler_lock:
            if self._compiler is None:
                self._compiler = self._make_compiler()
            return self._compiler

    def _bound(self, turn: Turn, request: GenerateRequest, writer: EventWriter) -> Turn:
        """The turn with the grammar that its answer must keep to, compiled. Runs in a thread."""
        compiler = self.compiler

        def grammar(lenient: bool) -> Grammar:
            made = grammar_of(
                request,
                turn.family,
                turn.context,
                turn.tools,
                turn.parallel,
                compiler.special,
                lenient,
            )
            compiler.check(made)
            return made

        try:
            return replace(turn, grammar=grammar(False))
        except ServiceError as error:
            refused = error.error
            unsupported = ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
            if refused.reason != unsupported or not may_loosen(request):
                raise
            writer.warn(
                WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER,
                refused.field,
                f"{refused.message}; the rest is enforced",
            )
            return replace(turn, grammar=grammar(True))

    async def _in_tokenizer_thread(self, work: Callable[[], T]) -> T:
        """Do what uses the tokenizer or processor, without holding up the event loop."""
        try:
            waited = asyncio.get_running_loop().run_in_executor(self._tokenizing, work)
        except RuntimeError:  # the thread has ended
            raise service_error(
                ErrorReason.ERROR_REASON_MODEL_NOT_LOADED,
                f"{self.model_name} is not loaded any more",
                model=self.model_name,
                provider=self.backend,
            ) from None
        return await waited
