"""Vision-language models on transformers."""

from __future__ import annotations

import importlib.util
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from local_inference_service.adapters.huggingface import HuggingFaceAdapter
from local_inference_service.architecture import check_architecture
from local_inference_service.chat import Chat, Turn
from local_inference_service.hub import fetch_model
from local_inference_service.image_chat import ImageChat
from local_inference_service.images import read_images
from local_inference_service.media_rules import OF_THE_PROCESS, MediaRules
from local_inference_service.model_files import check_files
from local_inference_service.progress import LoadError, Progress, quiet
from local_inference_service.prompt import Prompt
from local_inference_service.weights import load_part, read_model, resolve_device, resolve_dtype
from marsys.v1 import GenerateRequest, LoadStage, MediaPart, Message, Part, Role
from serving.errors import ServiceError, invalid

log = logging.getLogger(__name__)

_TRIED_TOKENS = 4
_NOT_INPUTS = ("input_ids", "attention_mask")


class HuggingFaceVLMAdapter(HuggingFaceAdapter):
    """A model on transformers that takes text and images, loaded in this process.

    Args:
        model_name: hub name or directory.
        torch_dtype: "auto", "float32", "float16" or "bfloat16".
        device_map: "auto", "cpu", "cuda", "cuda:0", ...
        trust_remote_code: whether the model's own Python code may run.
        revision: branch, tag or commit of a hub model.
        media_rules: where images may come from. Default: any file, any public https URL, as is
            right for callers in this process.
        tool_parser: name of the notation in which the model writes calls and thoughts. Default:
            found by its chat template and tokenizer.
        progress: told of the load's steps.
        **options: as for HuggingFaceAdapter: max_tokens, thinking_budget, max_model_len,
            max_active, max_queued, kv_cache_bytes, prefix_cache_bytes.

    Attributes:
        processor: the transformers processor: the tokenizer and what prepares images.

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
        media_rules: MediaRules = OF_THE_PROCESS,
        tool_parser: str | None = None,
        progress: Progress = quiet,
        **options: Any,
    ) -> None:
        device = resolve_device(device_map)
        dtype = resolve_dtype(torch_dtype, device)
        directory = fetch_model(model_name, revision, progress)
        progress(LoadStage.LOAD_STAGE_LOADING, None, None)
        files = check_files(Path(directory))
        check_architecture(files.config, "vlm", trust_remote_code, files.directory.name)
        processor = _load_processor(directory, trust_remote_code)
        model = read_model(
            transformers.AutoModelForImageTextToText,
            files,
            dtype,
            device,
            trust_remote_code,
            progress,
        )
        images = ImageChat(processor, model.config)
        chat = Chat(images.template, processor.tokenizer, images=images, family=tool_parser)
        super().__init__(model_name, model, processor.tokenizer, chat, **options)
        self.processor: Any = processor
        self._media_rules = media_rules
        self._taken = _taken_inputs(model)

    @property
    def input_modalities(self) -> tuple[str, ...]:
        return ("image",)

    async def make_prompt(self, request: GenerateRequest, turn: Turn, name: str) -> Prompt:
        images = await read_images(request.messages, self._media_rules)
        return await self._in_tokenizer_thread(lambda: self._process(turn.prompt, images, name))

    def warm_up(self) -> None:
        super().warm_up()
        if not self.chat.template.exists:
            return
        parts = [Part(media=MediaPart()), Part()]
        parts[1].text.text = "Hello"
        image = Image.linear_gradient("L").convert("RGB")
        try:
            request = GenerateRequest(messages=[Message(role=Role.ROLE_USER, parts=parts)])
            turn = self.chat.turn(request, self.model_name, 0)
            prompt = self._process(turn.prompt, [image], self.model_name)
        except ServiceError as error:
            raise LoadError(f"{self.model_name} can't take an image: {error}") from error
        answer = self._answer_of(prompt, _TRIED_TOKENS)
        if answer == self._answer_of_generate(prompt):
            return
        if self.model.dtype == torch.float32:
            raise LoadError(
                f"{self.model_name} can't be run by this backend: after images, its answers aren't "
                "those of its own generate"
            )
        # There rounding alone may choose another of two words that are as likely.
        log.warning("%s: after images, its answers aren't those of its generate", self.model_name)

    def close(self) -> None:
        super().close()
        self.processor = None

    def _answer_of_generate(self, prompt: Prompt) -> str:
        """What the model's own generate answers. Nothing else may run meanwhile."""
        device = self.model.device
        ids = torch.tensor([prompt.ids], device=device)
        inputs = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in prompt.inputs.items()
        }
        ends = self._end_tokens()
        own = self.model.generation_config
        # In place of the model's own, whose penalties it would add.
        self.model.generation_config = transformers.GenerationConfig(
            max_new_tokens=_TRIED_TOKENS, eos_token_id=ends or None, pad_token_id=(ends or [0])[0]
        )
        try:
            with torch.inference_mode():
                made = self.model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), **inputs
                )
        finally:
            self.model.generation_config = own
        return self._decode(made[0, len(prompt.ids) :].tolist())

    def _process(self, text: str, images: Sequence[Image.Image], name: str) -> Prompt:
        start = self.tokenizer.bos_token
        try:
            made = self.processor(
                text=text,
                images=[list(images)] if images else None,
                # As transformers does for chats: templates begin with the first token, or leave it
                # to the tokenizer.
                add_special_tokens=not (start and text.startswith(start)),
                return_tensors="pt",
            )
        except ValueError as error:  # such as an image that is too narrow
            raise invalid("messages", f"{name} can't take its images: {error}") from error
        ids: list[int] = made["input_ids"][0].tolist()
        return Prompt(ids, self._inputs(made) if images else {})

    def _inputs(self, made: Mapping[str, Any]) -> dict[str, Any]:
        """What the model takes beside the ids, of the type that it takes it."""
        inputs = {}
        for name, value in made.items():
            if name in _NOT_INPUTS or (self._taken is not None and name not in self._taken):
                continue
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                value = value.to(self.model.dtype)
            inputs[name] = value
        return inputs


def _load_processor(directory: str, trust_remote_code: bool) -> Any:
    try:
        processor = load_part(transformers.AutoProcessor, directory, trust_remote_code)
    except LoadError as error:
        there = importlib.util.find_spec("torchvision") is not None
        if not there and "torchvision" in str(error.__cause__).lower():
            raise LoadError(
                "its processor needs torchvision, which isn't installed: pip install torchvision"
            ) from error
        raise
    for part in ("tokenizer", "image_processor"):
        if not hasattr(processor, part):
            raise LoadError(
                f"its processor has no {part}: its files (processor_config.json or "
                "preprocessor_config.json, and the tokenizer's) are incomplete"
            )
    return processor


def _taken_inputs(model: Any) -> frozenset[str] | None:
    """Names of what the model's forward pass takes; None where it doesn't say."""
    names = inspect.signature(model.forward).parameters
    return frozenset(names) if "pixel_values" in names else None
