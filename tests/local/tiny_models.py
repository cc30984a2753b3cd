"""Vision-language models of random numbers, under a megabyte each, made without any download."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

Family = Literal["idefics3", "llava"]

_END = "</s>"
_START = "<s>"
_PAD = "<pad>"
_IDEFICS3_TOKENS = (
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)
# As the families' published models have it: each content is a list.
_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_SIDE = 64  # of an image, in pixels, as the vision tower takes it
_PATCH = 8


def make_tiny_vlm(directory: Path, family: Family = "idefics3") -> Path:
    """Make a vision-language model: weights, tokenizer, image processor and chat template.

    It says any byte, and what it says depends on the pixels. Its heads have 32 dimensions.

    Args:
        directory: where it is put; made if it isn't there.
        family: "idefics3" (an image is split into tiles) or "llava".

    Returns:
        The directory.
    """
    torch.manual_seed(0)
    make = _make_idefics3 if family == "idefics3" else _make_llava
    model, processor = make()
    _widen(model)
    ends = processor.tokenizer.eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends)
    processor.chat_template = _TEMPLATE
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def _make_idefics3() -> tuple[Any, Any]:
    tokenizer = _byte_tokenizer(_IDEFICS3_TOKENS)
    scale = 2
    config = Idefics3Config(
        text_config=_text_config(tokenizer),
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _SIDE,
            "patch_size": _PATCH,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=scale,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 2 * _SIDE}, max_image_size={"longest_edge": _SIDE}
    )
    length = (_SIDE // _PATCH) ** 2 // scale**2
    processor = Idefics3Processor(images, tokenizer, image_seq_len=length)
    return Idefics3ForConditionalGeneration(config), processor


def _make_llava() -> tuple[Any, Any]:
    tokenizer = _byte_tokenizer(("<image>",))
    length = (_SIDE // _PATCH) ** 2
    config = LlavaConfig(
        text_config=_text_config(tokenizer),
        vision_config=CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=_SIDE,
            patch_size=_PATCH,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=length,
    )
    side = {"height": _SIDE, "width": _SIDE}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": _SIDE}, crop_size=side),
        tokenizer,
        patch_size=_PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return LlavaForConditionalGeneration(config), processor


def _byte_tokenizer(special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = (_START, _END, _PAD, *special)
    tokenizer.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_START, eos_token=_END, pad_token=_PAD
    )


def _text_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _widen(model: torch.nn.Module) -> None:
    """Larger numbers than a model starts its training with, so that its input matters."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(3)
