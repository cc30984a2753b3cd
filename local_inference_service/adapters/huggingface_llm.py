"""Text models on transformers."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from local_inference_service.adapters.base import DEFAULT_MAX_TOKENS, LocalProviderAdapter
from local_inference_service.chat import render_prompt
from local_inference_service.engine import Engine, EngineFull, EngineStopped, Job
from local_inference_service.output import Output
from local_inference_service.progress import Progress, quiet
from local_inference_service.prompt import Prompt
from local_inference_service.request_checks import TEXT_FIELDS
from local_inference_service.sampling import SamplingParams, resolve_params
from local_inference_service.text_stream import TextStream
from local_inference_service.weights import (
    fetch_model,
    load_model,
    model_defaults,
    resolve_device,
    resolve_dtype,
)
from marsys.v1 import ErrorReason, GenerateRequest, GenerationConfig, LoadStage
from serving.errors import ServiceError, service_error

_BUSY_RETRY = 2.0  # seconds


class HuggingFaceLLMAdapter(LocalProviderAdapter):
    """A text model on transformers, loaded in this process.

    Args:
        model_name: hub name or directory.
        max_tokens: most tokens of an answer whose request doesn't say.
        torch_dtype: "auto", "float32", "float16" or "bfloat16".
        device_map: "auto", "cpu", "cuda", "cuda:0", ...
        trust_remote_code: whether the model's own Python code may run.
        revision: branch, tag or commit of a hub model.
        max_model_len: longest prompt and output together, in tokens. Default: the model's.
        max_active: most requests that run side by side.
        max_queued: most requests that wait.
        progress: told of the load's steps.

    Raises:
        ValueError: torch_dtype isn't known.
        LoadError: the model can't be loaded.
    """

    def __init__(
        self,
        model_name: str,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        torch_dtype: str = "auto",
        device_map: str = "auto",
        trust_remote_code: bool = False,
        revision: str | None = None,
        max_model_len: int | None = None,
        max_active: int = 8,
        max_queued: int = 64,
        progress: Progress = quiet,
    ) -> None:
        device = resolve_device(device_map)
        dtype = resolve_dtype(torch_dtype, device)
        directory = fetch_model(model_name, revision, progress)
        progress(LoadStage.LOAD_STAGE_LOADING, None, None)
        self.model, self.tokenizer = load_model(directory, dtype, device, trust_remote_code)
        self.max_tokens = max_tokens
        self._max_model_len = max_model_len
        self._defaults = model_defaults(self.model)
        # Tokenizers can't be used by two threads at once: the callers share one, in a thread of
        # its own, and the engine has another.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._decoder = copy.deepcopy(self.tokenizer)
        self._engine = Engine(self.model, self._end_tokens(), max_active, max_queued)

    @property
    def supports_training(self) -> bool:
        return True

    @property
    def backend(self) -> str:
        return "huggingface"

    @property
    def context_length(self) -> int | None:
        own = getattr(self.model.config, "max_position_embeddings", None)
        lengths = [length for length in (own, self._max_model_len) if length]
        return min(lengths) if lengths else None

    @property
    def memory_bytes(self) -> int:
        return int(self.model.get_memory_footprint())

    @property
    def supported_fields(self) -> frozenset[str]:
        return TEXT_FIELDS

    @property
    def jobs(self) -> int:
        """How many requests are running or waiting."""
        return self._engine.jobs

    async def make_prompt(self, request: GenerateRequest, name: str) -> Prompt:
        def tokenize() -> list[int]:
            prompt = render_prompt(self.tokenizer, request.messages, name)
            ids: list[int] = self.tokenizer(prompt, add_special_tokens=False).input_ids
            return ids

        loop = asyncio.get_running_loop()
        return Prompt(await loop.run_in_executor(self._tokenizing, tokenize))

    async def decode(
        self, prompt: Prompt, config: GenerationConfig, max_tokens: int, name: str
    ) -> AsyncGenerator[Sequence[Output], None]:
        outputs: asyncio.Queue[Output] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        job = Job(
            prompt=prompt.ids,
            inputs=prompt.inputs,
            max_tokens=max_tokens,
            params=resolve_params(config, self._defaults),
            text=TextStream(self._decode, config.stop_sequences),
            deliver=lambda output: _deliver(loop, outputs, output),
        )
        self._submit(job, name)
        try:
            finished = False
            while not finished:
                arrived = await _arrived(outputs)
                last = arrived[-1]
                if last.error is not None:
                    raise _failure(last.error, name)
                finished = last.finish is not None
                yield arrived
        finally:
            self._engine.cancel(job)

    def warm_up(self) -> None:
        done = threading.Event()
        outputs: list[Output] = []

        def deliver(output: Output) -> None:
            outputs.append(output)
            if output.finish is not None or output.error is not None:
                done.set()

        prompt = self.tokenizer("Hello", add_special_tokens=True).input_ids
        greedy = SamplingParams(temperature=0)
        self._engine.submit(Job(prompt, 2, greedy, TextStream(self._decode), deliver))
        done.wait()
        error = outputs[-1].error
        if error is not None:
            raise error

    def close(self) -> None:
        self._engine.close()
        self._tokenizing.shutdown()
        self.model = self.tokenizer = None
        if torch.accelerator.is_available():
            torch.cuda.empty_cache()

    def _end_tokens(self) -> list[int]:
        ends = self._defaults.get("eos_token_id", self.tokenizer.eos_token_id)
        if ends is None:
            return []
        return list(ends) if isinstance(ends, list) else [ends]

    def _decode(self, ids: list[int]) -> str:
        text: str = self._decoder.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
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
    if not loop.is_closed():  # the server has gone; nobody waits for the rest
        loop.call_soon_threadsafe(outputs.put_nowait, output)


async def _arrived(outputs: asyncio.Queue[Output]) -> list[Output]:
    """What has come since the last call; waits for the first."""
    arrived = [await outputs.get()]
    while not outputs.empty():
        arrived.append(outputs.get_nowait())
    return arrived


def _failure(error: BaseException, name: str) -> ServiceError:
    if isinstance(error, EngineStopped):
        reason, text = ErrorReason.ERROR_REASON_MODEL_NOT_LOADED, f"{name} is not loaded any more"
    elif isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        reason, text = ErrorReason.ERROR_REASON_OUT_OF_MEMORY, f"{name} ran out of memory"
    else:
        reason = ErrorReason.ERROR_REASON_INTERNAL
        text = f"{name} failed: {type(error).__name__}: {error}"
    return service_error(reason, text, model=name, provider="huggingface")
