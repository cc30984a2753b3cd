"""What text and vision-language models on transformers share: engine, tokenizer, failures."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from local_inference_service.adapters.base import DEFAULT_MAX_TOKENS, LocalProviderAdapter
from local_inference_service.chat import Chat, Turn
from local_inference_service.constraints import Compiler, GrammarError
from local_inference_service.counts import check_count
from local_inference_service.engine import (
    CannotGenerate,
    Engine,
    EngineFull,
    EngineStopped,
    Job,
    is_out_of_memory,
)
from local_inference_service.memory import free_memory, kind_of
from local_inference_service.output import Output
from local_inference_service.progress import LoadError
from local_inference_service.prompt import Prompt
from local_inference_service.sampling import Rule, SamplingParams, resolve_params
from local_inference_service.text_stream import TextStream
from local_inference_service.thought_budget import ThoughtBudget
from local_inference_service.weights import model_defaults
from marsys.v1 import ErrorReason, GenerationConfig
from serving.errors import ServiceError, service_error

_BUSY_RETRY = 2.0  # seconds


class HuggingFaceAdapter(LocalProviderAdapter):
    """A model on transformers, loaded in this process.

    Args:
        model_name: the model's name.
        model: the PyTorch model.
        tokenizer: its tokenizer.
        chat: how it holds a conversation.
        max_tokens: most tokens of an answer whose request doesn't say.
        thinking_budget: most tokens of reasoning of an answer whose request doesn't say; taken by
            models that reason.
        max_model_len: longest prompt and output together, in tokens. Default: the model's.
        max_active: most requests that run side by side.
        max_queued: most requests that wait.
        kv_cache_bytes: most memory for the keys and values of all requests. Default: half of what
            is free on the model's device.
        prefix_cache_bytes: most of it for those of ended requests, reused by requests that begin
            with the same tokens. They would be stale once `model` was trained, so that by default
            (0) none are kept; the service, which never trains, keeps some.

    Raises:
        ValueError: a number is out of its range.
        LoadError: the model's architecture can't be run.
    """

    def __init__(
        self,
        model_name: str,
        model: Any,
        tokenizer: Any,
        chat: Chat,
        *,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        thinking_budget: int | None = None,
        max_model_len: int | None = None,
        max_active: int = 16,
        max_queued: int = 64,
        kv_cache_bytes: int | None = None,
        prefix_cache_bytes: int = 0,
    ) -> None:
        for name, value, least in (
            ("max_tokens", max_tokens, 1),
            ("thinking_budget", thinking_budget, 0),
            ("max_model_len", max_model_len, 1),
            ("max_active", max_active, 1),
            ("max_queued", max_queued, 0),
            ("kv_cache_bytes", kv_cache_bytes, 1),
            ("prefix_cache_bytes", prefix_cache_bytes, 0),
        ):
            check_count(name, value, least)
        super().__init__()
        self.model_name = model_name
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.thinking_budget = max_tokens, thinking_budget
        self._max_model_len = max_model_len
        self._defaults = model_defaults(model)
        # Tokenizers can't be used by two threads at once: the callers share one, in a thread of
        # its own, and the engine has another.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._decoder = copy.deepcopy(tokenizer)
        self.chat = chat
        self._hidden = {
            number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special and token.content not in chat.markers
        }
        if kv_cache_bytes is None:
            kv_cache_bytes = free_memory(kind_of(model.device.type)) // 2
        try:
            self._engine = Engine(
                model,
                self._end_tokens(),
                max_active=max_active,
                max_queued=max_queued,
                kv_cache_bytes=kv_cache_bytes,
                prefix_cache_bytes=prefix_cache_bytes,
            )
        except CannotGenerate as error:
            raise LoadError(f"{model_name} can't be run by this backend: {error}") from error

    @property
    def supports_training(self) -> bool:
        return True

    @property
    def backend(self) -> str:
        return "huggingface"

    @property
    def context_length(self) -> int | None:
        config = self.model.config.get_text_config(decoder=True)
        own = getattr(config, "max_position_embeddings", None)
        lengths = [length for length in (own, self._max_model_len) if length]
        return min(lengths) if lengths else None

    @property
    def memory_bytes(self) -> int:
        return int(self.model.get_memory_footprint())

    @property
    def jobs(self) -> int:
        return self._engine.jobs

    async def decode(
        self, prompt: Prompt, turn: Turn, config: GenerationConfig, max_tokens: int, name: str
    ) -> AsyncGenerator[Sequence[Output], None]:
        outputs: asyncio.Queue[Output] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        job = Job(
            prompt=prompt.ids,
            inputs=prompt.inputs,
            max_tokens=max_tokens,
            params=resolve_params(config, self._defaults),
            processors=prompt.processors,
            rules=self._rules(turn),
            text=TextStream(self._decode, config.stop_sequences),
            deliver=lambda output: _deliver(loop, outputs, output),
        )
        self._submit(job, name)
        try:
            finished = False
            while not finished:
                arrived = await _arrived(outputs)
                error, finished = arrived[-1].error, arrived[-1].finish is not None
                if error is not None:
                    yield arrived[:-1]
                    raise _failure(error, name)
                yield arrived
        finally:
            self._engine.cancel(job)

    def warm_up(self) -> None:
        self._answer_of(Prompt(self.tokenizer("Hello", add_special_tokens=True).input_ids), 2)

    def close(self) -> None:
        self._engine.close()
        self._tokenizing.shutdown()
        self.model = self.tokenizer = None
        if torch.accelerator.is_available():
            torch.accelerator.memory.empty_cache()

    def _rules(self, turn: Turn) -> list[Rule]:
        """What the answer must keep to."""
        rules: list[Rule] = []
        if turn.grammar is not None:
            rules.append(self.compiler.mask(turn.grammar))
        if turn.budget is not None:
            text = TextStream(self._decode)
            rules.append(ThoughtBudget(turn.budget, turn.thought_end, turn.parser(), text))
        return rules

    def _make_compiler(self) -> Compiler:
        width = self.model.config.get_text_config(decoder=True).vocab_size
        return Compiler(self.tokenizer, width, self._end_tokens())

    def _answer_of(self, prompt: Prompt, max_tokens: int) -> str:
        """The likeliest answer, waited for in a thread without an event loop."""
        done = threading.Event()
        outputs: list[Output] = []

        def deliver(output: Output) -> None:
            outputs.append(output)
            if output.finish is not None or output.error is not None:
                done.set()

        greedy = SamplingParams(temperature=0)
        text = TextStream(self._decode)
        job = Job(prompt.ids, max_tokens, greedy, text, deliver, inputs=prompt.inputs)
        self._engine.submit(job)
        done.wait()
        error = outputs[-1].error
        if error is not None:
            raise error
        return "".join(output.text for output in outputs)

    def _end_tokens(self) -> list[int]:
        ends = self._defaults.get("eos_token_id", self.tokenizer.eos_token_id)
        if ends is None:
            return []
        return list(ends) if isinstance(ends, list) else [ends]

    def _decode(self, ids: list[int]) -> str:
        shown = [number for number in ids if number not in self._hidden]
        text: str = self._decoder.decode(
            shown, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _submit(self, job: Job, name: str) -> None:
        try:
            self._engine.submit(job)
        except EngineFull as full:
            raise service_error(
                ErrorReason.ERROR_REASON_OVERLOADED,
                f"{name} is busy: {full}",
                model=name,
                provider=self.backend,
                retry_after=_BUSY_RETRY,
            ) from None
        except EngineStopped as stopped:
            raise _failure(stopped, name) from None


def _deliver(
    loop: asyncio.AbstractEventLoop, outputs: asyncio.Queue[Output], output: Output
) -> None:
    try:
        loop.call_soon_threadsafe(outputs.put_nowait, output)
    except RuntimeError:  # the loop was closed: nobody waits for the rest
        return


async def _arrived(outputs: asyncio.Queue[Output]) -> list[Output]:
    """What has come since the last call; waits for the first."""
    arrived = [await outputs.get()]
    while not outputs.empty():
        arrived.append(outputs.get_nowait())
    return arrived


def _failure(error: BaseException, name: str) -> ServiceError:
    field = ""
    if isinstance(error, EngineStopped):
        reason, text = ErrorReason.ERROR_REASON_MODEL_NOT_LOADED, f"{name} is not loaded any more"
    elif is_out_of_memory(error):
        reason = ErrorReason.ERROR_REASON_OUT_OF_MEMORY
        why = str(error) if isinstance(error, MemoryError) and str(error) else "the device is full"
        text = f"{name} ran out of memory for this request: {why}"
    elif isinstance(error, GrammarError):
        reason, field = ErrorReason.ERROR_REASON_INVALID_REQUEST, "output_format"
        text = f"{field}: {error}"
    else:
        reason = ErrorReason.ERROR_REASON_INTERNAL
        text = f"{name} failed: {type(error).__name__}: {error}"
    return service_error(reason, text, field=field, model=name, provider="huggingface")
