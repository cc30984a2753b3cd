"""A tiny model that was taught what to say: real weights, real decoding, a known answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chat_templates
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter
from marsys.v1 import GenerateRequest

_STEPS = 400
_GOOD = 0.002  # loss from which on greedy decoding is safe


def make_pupil(directory: Path, template: str, *special: str) -> Path:
    """A random Llama over bytes with a chat template, saved in a directory."""
    tokenizer = chat_templates.tokenizer_with(template, *special)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
    return directory


async def teach(directory: Path, *lessons: tuple[GenerateRequest, str]) -> Path:
    """Teach the model of a directory what to answer to some requests.

    Args:
        directory: of a model; written over.
        *lessons: each a request and its answer, as the model is to write it.
    """
    adapter = HuggingFaceLLMAdapter(str(directory), torch_dtype="float32")
    try:
        texts = []
        for request, answer in lessons:
            prompt = (await adapter.prompt_of(request, "pupil")).ids
            ids = adapter.tokenizer(answer, add_special_tokens=False).input_ids
            texts.append((prompt, [*ids, adapter.tokenizer.eos_token_id]))
        _train(adapter.model, texts)
        adapter.model.save_pretrained(directory)
    finally:
        adapter.cleanup()
    return directory


def _train(model: Any, texts: list[tuple[list[int], list[int]]]) -> None:
    longest = max(len(prompt) + len(answer) for prompt, answer in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(texts):
        size = len(prompt) + len(answer)
        ids[row, :size] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : size] = torch.tensor(answer)
        mask[row, :size] = 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for so small a model more only wait for each other
    for _ in range(_STEPS):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        if loss.item() < _GOOD:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        raise RuntimeError(f"the model learns too slowly: its loss is still {loss.item():.4f}")
    torch.set_num_threads(threads)
    model.eval()
