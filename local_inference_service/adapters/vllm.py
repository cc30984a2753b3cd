"""Text and vision-language models on vLLM."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import transformers

from local_inference_service.adapters.base import DEFAULT_MAX_TOKENS, LocalProviderAdapter
from local_inference_service.adapters.vllm_arguments import (
    check_arguments,
    engine_arguments,
    memory_of,
    reasoning_config,
)
from local_inference_service.adapters.vllm_engine import EngineClosed, EngineDown, VLLMEngine
from local_inference_service.adapters.vllm_sampling import hidden_tokens, to_output, to_vllm
from local_inference_service.chat import Chat, Turn
from local_inference_service.constraints import Compiler
from local_inference_service.counts import check_count
from local_inference_service.hub import fetch_model
from local_inference_service.image_chat import ImageChat
from local_inference_service.images import read_images
from local_inference_service.media_rules import OF_THE_PROCESS, MediaRules
from local_inference_service.output import Output
from local_inference_service.parsing import FAMILIES
from local_inference_service.progress import Progress, quiet
from local_inference_service.prompt import Prompt
from local_inference_service.sampling import resolve_params
from local_inference_service.spelled_tokens import SpelledTokens
from local_inference_service.weights import load_part
from marsys.v1 import ErrorReason, GenerateRequest, GenerationConfig, LoadStage
from serving.errors import ServiceError, invalid, service_error

_BUSY_RETRY = 2.0  # seconds


class VLLMAdapter(LocalProviderAdapter):
    """A model on vLLM: its engine runs in processes of its own, started here.

    Args:
        model_name: hub name or directory.
        model_class: "llm" or "vlm".
        max_tokens: most tokens of an answer whose request doesn't say.
        thinking_budget: most tokens of reasoning of an answer whose request doesn't say; taken by
            models that reason.
        tensor_parallel_size: GPUs that share each layer.
        gpu_memory_utilization: share of each GPU's memory to take, above 0 to 1.
        quantization: "awq", "gptq", "fp8", or None.
        torch_dtype: "auto", "float32", "float16" or "bfloat16".
        trust_remote_code: whether the model's own Python code may run.
        revision: branch, tag or commit of a hub model.
        max_model_len: longest prompt and output together, in tokens. Default: the model's.
        max_active: most requests that run at a time (vLLM's max_num_seqs). Default: vLLM's.
        max_queued: most requests that wait.
        media_rules: where images may come from. Default: any file, any public https URL, as is
            right for callers in this process.
        tool_parser: name of the notation in which the model writes calls and thoughts. Default:
            found by its chat template and tokenizer.
        engine_options: further arguments of vLLM's engine, by vLLM's names, such as
            {"pipeline_parallel_size": 2, "distributed_executor_backend": "ray"}.
        progress: told of the load's steps.

    Raises:
        ValueError: an argument is wrong.
        LoadError: vLLM isn't installed, or the model can't be loaded.
    """

    def __init__(
        self,
        model_name: str,
        model_class: str = "llm",
        max_tokens: int = DEFAULT_MAX_TOKENS,
        thinking_budget: int | None = None,
        *,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float | None = 0.9,
        quantization: str | None = None,
        torch_dtype: str = "auto",
        trust_remote_code: bool = False,
        revision: str | None = None,
        max_model_len: int | None = None,
        max_active: int | None = None,
        max_queued: int = 64,
        media_rules: MediaRules = OF_THE_PROCESS,
        tool_parser: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
        progress: Progress = quiet,
    ) -> None:
        super().__init__()
        options = dict(engine_options or {})
        check_arguments(
            model_class,
            tensor_parallel_size,
            gpu_memory_utilization,
            quantization,
            max_model_len,
            options,
        )
        for name, value, least in (
            ("max_tokens", max_tokens, 1),
            ("thinking_budget", thinking_budget, 0),
            ("max_active", max_active, 1),
            ("max_queued", max_queued, 0),
        ):
            check_count(name, value, least)
        if max_active is not None:
            if "max_num_seqs" in options:
                raise ValueError("engine_options: max_num_seqs is set by the argument max_active")
            options["max_num_seqs"] = max_active
        self.model_name, self.model_class = model_name, model_class
        self.max_tokens, self.thinking_budget = max_tokens, thinking_budget
        directory = fetch_model(model_name, revision, progress)
        progress(LoadStage.LOAD_STAGE_LOADING, None, None)
        self._hold_chat(directory, trust_remote_code, tool_parser)
        if self.chat.reasons:
            options.setdefault("reasoning_config", reasoning_config(self.chat.family))
        self._arguments = engine_arguments(
            directory,
            model_class=model_class,
            torch_dtype=torch_dtype,
            trust_remote_code=trust_remote_code,
            tensor_parallel_size=tensor_parallel_size,
            gpu_memory_utilization=gpu_memory_utilization,
            quantization=quantization,
            max_model_len=max_model_len,
            engine_options=options,
        )
        self._engine = VLLMEngine(self._arguments, self._health_changed)
        config = self._engine.config
        self._context_length = int(config.model_config.max_model_len)
        self._most_jobs = int(config.scheduler_config.max_num_seqs) + max_queued
        self._defaults = dict(config.model_config.try_get_generation_config())
        self._weights = _bytes_of_weights(directory)
        self._media_rules = media_rules
        self._jobs = 0

    @property
    def supports_training(self) -> bool:
        return False

    @property
    def backend(self) -> str:
        return "vllm"

    @property
    def context_length(self) -> int | None:
        return self._context_length

    @property
    def memory_bytes(self) -> int:
        return memory_of(self._arguments, self._weights)

    @property
    def jobs(self) -> int:
        return self._jobs

    @property
    def input_modalities(self) -> tuple[str, ...]:
        return ("image",) if self.model_class == "vlm" else ()

    async def make_prompt(self, request: GenerateRequest, turn: Turn, name: str) -> Prompt:
        ids = await self._in_tokenizer_thread(lambda: self._tokenize(turn.prompt))
        if self.model_class == "llm":
            return Prompt(ids)
        images = await read_images(request.messages, self._media_rules)
        if not images:
            return Prompt(ids)
        asked = {"prompt_token_ids": ids, "multi_modal_data": {"image": images}}
        try:
            made = await self._engine.acall(self._engine.render(asked))
        except (EngineDown, EngineClosed) as error:
            raise _failure(error, name) from None
        except ValueError as error:  # such as more images than the engine has room for
            raise invalid("messages", f"{name} can't take its images: {error}") from error
        return Prompt(list(made["prompt_token_ids"]), made)

    def _tokenize(self, prompt: str) -> list[int]:
        """Ids of the prompt, where each image has one place yet."""
        start = self.tokenizer.bos_token
        # Templates begin with the first token, or leave it to the tokenizer.
        begins = self.model_class == "llm" or bool(start and prompt.startswith(start))
        return self._spelled.tokenize(prompt, add_special_tokens=not begins)

    async def decode(
        self, prompt: Prompt, turn: Turn, config: GenerationConfig, max_tokens: int, name: str
    ) -> AsyncGenerator[Sequence[Output], None]:
        if self._jobs >= self._most_jobs:
            raise service_error(
                ErrorReason.ERROR_REASON_OVERLOADED,
                f"{name} is busy: {self._jobs} requests are running or waiting",
                model=name,
                provider=self.backend,
                retry_after=_BUSY_RETRY,
            )
        params = resolve_params(config, self._defaults)
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        deliver = _deliverer(asyncio.get_running_loop(), arrived)
        self._jobs += 1
        end = self._engine.generate(
            prompt.inputs or {"prompt_token_ids": prompt.ids},
            to_vllm(params, list(config.stop_sequences), max_tokens, turn.budget, turn.grammar),
            uuid.uuid4().hex,
            deliver,
        )
        try:
            tokens, finished = 0, False
            while not finished:
                outputs: list[Output] = []
                for result in await _all_of(arrived):
                    output = (
                        Output(error=result)
                        if isinstance(result, Exception)
                        else to_output(result, tokens, self._hidden)
                    )
                    if output.error is not None:
                        yield outputs
                        raise _failure(output.error, name)
                    tokens, finished = output.tokens, output.finish is not None
                    outputs.append(output)
                yield outputs
        finally:
            self._jobs -= 1
            end()

    def warm_up(self) -> None:
        self._engine.call(self._say_hello())

    def close(self) -> None:
        self._engine.close()
        self._tokenizing.shutdown()
        self.tokenizer = None

    async def _say_hello(self) -> None:
        prompt = Prompt(self.tokenizer("Hello").input_ids)
        config, turn = GenerationConfig(temperature=0), Turn("", FAMILIES["plain"])
        async for _ in self.decode(prompt, turn, config, 2, self.model_name):
            pass

    def _make_compiler(self) -> Compiler:
        ends = self._defaults.get("eos_token_id", self.tokenizer.eos_token_id)
        width = self._engine.config.model_config.get_vocab_size()
        return Compiler(self.tokenizer, width, ends if isinstance(ends, list) else [ends])

    def _hold_chat(self, directory: str, trust_remote_code: bool, family: str | None) -> None:
        """How the model holds a conversation, found before the engine is started."""
        images = None
        if self.model_class == "vlm":
            holder = load_part(transformers.AutoProcessor, directory, trust_remote_code)
            self.tokenizer = holder.tokenizer
            config = load_part(transformers.AutoConfig, directory, trust_remote_code)
            images = ImageChat(holder, config)
            holder = images.template
        else:
            holder = load_part(transformers.AutoTokenizer, directory, trust_remote_code)
            self.tokenizer = holder
        self._spelled = SpelledTokens(self.tokenizer)
        self.chat = Chat(
            holder, self.tokenizer, images=images, family=family, hide=self._spelled.hide
        )
        self._hidden = hidden_tokens(self.tokenizer, self.chat.markers)
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    def _health_changed(self, down: EngineDown | None) -> None:
        if self.on_health is not None:
            self.on_health(None if down is None else _failure(down, self.model_name).error)


def _deliverer(loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Any]) -> Any:
    def deliver(result: Any) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, result)
        except RuntimeError:  # the loop was closed: nobody waits for the rest
            return

    return deliver


async def _all_of(queue: asyncio.Queue[Any]) -> list[Any]:
    """What has come since the last call; waits for the first."""
    arrived = [await queue.get()]
    while not queue.empty():
        arrived.append(queue.get_nowait())
    return arrived


def _bytes_of_weights(directory: str) -> int:
    from pathlib import Path

    return sum(file.stat().st_size for file in Path(directory).glob("*.safetensors"))


def _failure(error: BaseException, name: str) -> ServiceError:
    retry_after = None
    if isinstance(error, EngineDown):
        reason = ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
        text = f"{name}: {error}"
        retry_after = error.retry_after
    elif isinstance(error, EngineClosed):
        reason, text = ErrorReason.ERROR_REASON_MODEL_NOT_LOADED, f"{name} is not loaded any more"
    else:
        reason = ErrorReason.ERROR_REASON_INTERNAL
        text = f"{name} failed: {type(error).__name__}: {error}"
    return service_error(reason, text, model=name, provider="vllm", retry_after=retry_after)
