"""Conversations with images, as the adapter takes them and as transformers does."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from local_inference_service.adapters.huggingface_vlm import HuggingFaceVLMAdapter
from marsys.v1 import ErrorReason, GenerateRequest, MediaPart, Message, Part, Role, TextPart
from serving.errors import ServiceError

ROLES = {
    "system": Role.ROLE_SYSTEM,
    "user": Role.ROLE_USER,
    "assistant": Role.ROLE_ASSISTANT,
}


def picture(seed: int, size: tuple[int, int] = (50, 40)) -> Image.Image:
    """Coarse noise: pixels that resizing leaves different from another seed's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


A, B, WIDE = picture(1), picture(2), picture(3, (150, 40))


def request_of(
    conversation: list[tuple[str, list[str | Image.Image]]], model: str = "idefics3", **config: Any
) -> GenerateRequest:
    messages = []
    for role, said in conversation:
        parts = [
            Part(text=TextPart(text=part))
            if isinstance(part, str)
            else Part(media=MediaPart(media_type="image/png", data=png(part)))
            for part in said
        ]
        messages.append(Message(role=ROLES[role], parts=parts))
    request = GenerateRequest(model=model, messages=messages)
    request.config.temperature = 0
    request.config.max_tokens = 16
    for name, value in config.items():
        setattr(request.config, name, value)
    return request


def inputs_of(adapter: HuggingFaceVLMAdapter, conversation: Any) -> Any:
    """What transformers itself makes of a conversation."""
    chat = [
        {
            "role": role,
            "content": [
                {"type": "text", "text": part}
                if isinstance(part, str)
                else {"type": "image", "image": part}
                for part in said
            ],
        }
        for role, said in conversation
    ]
    continued = conversation[-1][0] == "assistant"
    return adapter.processor.apply_chat_template(
        chat,
        tokenize=True,
        add_generation_prompt=not continued,
        continue_final_message=continued,
        return_dict=True,
        return_tensors="pt",
    )


def generated(adapter: HuggingFaceVLMAdapter, conversation: Any, tokens: int = 16) -> str:
    """The greedy answer of transformers' own generate."""
    inputs = inputs_of(adapter, conversation)
    with torch.inference_mode():
        out = adapter.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
    new = out[0, inputs["input_ids"].shape[1] :]
    return adapter.tokenizer.decode(new, skip_special_tokens=True)


async def answer_of(adapter: HuggingFaceVLMAdapter, request: GenerateRequest) -> str:
    batches = adapter.generate(request, request.model)
    events = [event async for batch in batches for event in batch]
    return "".join(event.part_delta.text for event in events if event.HasField("part_delta"))


def text_of(response: Any) -> str:
    return "".join(part.text.text for part in response.message.parts)


async def refusal(work: Any) -> tuple[ErrorReason.ValueType, str, str]:
    with pytest.raises(ServiceError) as caught:
        await work
    error = caught.value.error
    return error.reason, error.field, error.message
