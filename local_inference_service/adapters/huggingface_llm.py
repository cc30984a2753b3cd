"""Text models on transformers."""

from __future__ import annotations

from typing import Any

from local_inference_service.adapters.huggingface import HuggingFaceAdapter
from local_inference_service.chat import Chat, Turn
from local_inference_service.progress import Progress, quiet
from local_inference_service.prompt import Prompt
from local_inference_service.spelled_tokens import SpelledTokens
from local_inference_service.weights import fetch_model, load_model, resolve_device, resolve_dtype
from marsys.v1 import GenerateRequest, LoadStage


class HuggingFaceLLMAdapter(HuggingFaceAdapter):
    """A text model on transformers, loaded in this process.

    Args:
        model_name: hub name or directory.
        torch_dtype: "auto", "float32", "float16" or "bfloat16".
        device_map: "auto", "cpu", "cuda", "cuda:0", ...
        trust_remote_code: whether the model's own Python code may run.
        revision: branch, tag or commit of a hub model.
        tool_parser: name of the notation in which the model writes calls and thoughts. Default:
            found by its chat template and tokenizer.
        progress: told of the load's steps.
        **options: as for HuggingFaceAdapter: max_tokens, thinking_budget, max_model_len,
            max_active, max_queued, kv_cache_bytes, prefix_cache_bytes.

    Raises:
        ValueError: an argument is wrong.
        LoadError: the model can't be loaded.
    """

    def __init__(
        self,
        model_name: str,
        *,
        torch_dtype: str = "auto",
        device_map: str = "auto",
        trust_remote_code: bool = False,
        revision: str | None = None,
        tool_parser: str | None = None,
        progress: Progress = quiet,
        **options: Any,
    ) -> None:
        device = resolve_device(device_map)
        dtype = resolve_dtype(torch_dtype, device)
        directory = fetch_model(model_name, revision, progress)
        progress(LoadStage.LOAD_STAGE_LOADING, None, None)
        model, tokenizer = load_model(directory, dtype, device, trust_remote_code, progress)
        self._spelled = SpelledTokens(tokenizer)
        chat = Chat(tokenizer, tokenizer, family=tool_parser, hide=self._spelled.hide)
        super().__init__(model_name, model, tokenizer, chat, **options)

    async def make_prompt(self, request: GenerateRequest, turn: Turn, name: str) -> Prompt:
        def tokenize() -> list[int]:
            return self._spelled.tokenize(turn.prompt, add_special_tokens=False)

        return Prompt(await self._in_tokenizer_thread(tokenize))
