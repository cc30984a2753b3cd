"""How much memory a model will take, from its files and before anything is read."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from local_inference_service.memory import CPU, GIB, in_gib
from local_inference_service.model_files import ModelFiles
from local_inference_service.safetensors_header import Tensor

_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
_MARGIN = 64 * 1024 * 1024  # what a forward pass takes beside the weights, at least
_LEAST_CACHE = 16 * 1024 * 1024
_SLACK = 256  # tokens of each request that the engine makes ready beyond its context
_UNKNOWN_CACHE = 512 * 1024 * 1024  # where config.json doesn't tell what a token takes
_VLLM_CPU_CACHE = 4 * GIB
_VLLM_PROCESSES = 2 * GIB  # PyTorch and vLLM once more in its own processes


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Memory of a model, in bytes.

    Attributes:
        kind: of which device: "cpu", "cuda", ...
        weights: for the weights.
        cache: for the keys and values of its requests.
        margin: for the rest.
        cache_allocated: whether a loaded model has taken the cache already, so that it doesn't
            count as free any more.
        stored: bytes of the weights in their files; None where unknown.
    """

    kind: str
    weights: int
    cache: int
    margin: int
    cache_allocated: bool = False
    stored: int | None = None

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.margin

    def __str__(self) -> str:
        return (
            f"{in_gib(self.total)} (weights {in_gib(self.weights)}, cache {in_gib(self.cache)}, "
            f"rest {in_gib(self.margin)})"
        )


def huggingface_need(
    files: ModelFiles,
    *,
    kind: str,
    dtype: str,
    max_model_len: int | None,
    max_active: int,
    cache_bytes: int | None,
    most_cache: int,
) -> MemoryNeed:
    """What a model takes on transformers.

    Args:
        files: its files.
        kind: of which device the memory is.
        dtype: type that the weights get: "float32", "float16", "bfloat16"; "auto": as stored.
        max_model_len: the context asked for; None: the model's.
        max_active: requests that run side by side.
        cache_bytes: memory for keys and values, where it was chosen.
        most_cache: most that is set aside for them where it wasn't.
    """
    weights = weight_bytes(files, dtype)
    if cache_bytes is None:
        token = _token_bytes(files.config, dtype)
        context = _context(files.config, max_model_len)
        cache_bytes = _UNKNOWN_CACHE
        if token is not None and context is not None:
            cache_bytes = token * (context + _SLACK) * max_active
        cache_bytes = min(max(cache_bytes, _LEAST_CACHE), most_cache)
    return MemoryNeed(kind, weights, cache_bytes, _MARGIN + weights // 20, stored=files.nbytes)


def vllm_need(
    files: ModelFiles,
    *,
    kind: str,
    dtype: str,
    quantization: str,
    share: float,
    gpus: int,
    gpu_bytes: int,
    cache_bytes: int | None,
) -> MemoryNeed:
    """What a model takes on vLLM.

    Args:
        files: its files.
        kind: of which device the memory is.
        dtype: type that the weights get; "auto": as stored.
        quantization: "fp8" makes weights of one byte each; others are stored as they are.
        share: of each GPU's memory that vLLM takes at once.
        gpus: how many of them it uses.
        gpu_bytes: memory of one.
        cache_bytes: memory for keys and values, where it was chosen (CPU).
    """
    weights = weight_bytes(files, dtype, quantization)
    if kind != CPU:
        all_of_it = int(share * gpu_bytes) * gpus
        cache = max(all_of_it - weights, 0)
        return MemoryNeed(kind, all_of_it - cache, cache, 0, True, files.nbytes)
    if cache_bytes is None:
        chosen = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "")
        cache_bytes = int(chosen) * GIB if chosen.isdecimal() else _VLLM_CPU_CACHE
    return MemoryNeed(kind, weights, cache_bytes, _VLLM_PROCESSES, True, files.nbytes)


def weight_bytes(files: ModelFiles, dtype: str, quantization: str = "") -> int:
    """Memory of the weights, in bytes."""
    width = _WIDTHS.get(dtype)
    if "quantization_config" in files.config:
        width = None  # packed numbers stay as they are
    return sum(_bytes_of(tensor, width, quantization) for tensor in files.tensors.values())


def _bytes_of(tensor: Tensor, width: int | None, quantization: str) -> int:
    if not tensor.is_float:
        return tensor.nbytes
    if quantization == "fp8" and len(tensor.shape) > 1:
        return tensor.elements
    return tensor.nbytes if width is None else tensor.elements * width


def _token_bytes(config: dict[str, Any], dtype: str) -> int | None:
    """Bytes of one token's keys and values; None where config.json doesn't say."""
    text = config.get("text_config") or config
    if not isinstance(text, dict):
        return None
    layers = _count(text, "num_hidden_layers", "n_layer")
    heads = _count(text, "num_attention_heads", "n_head")
    hidden = _count(text, "hidden_size", "n_embd")
    if layers is None or heads is None or hidden is None:
        return None
    shared = _count(text, "num_key_value_heads") or heads
    width = _count(text, "head_dim") or math.ceil(hidden / heads)
    stored = str(config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "float32")
    number_bytes = _WIDTHS.get(dtype) or _WIDTHS.get(stored) or 4
    return 2 * layers * shared * width * number_bytes


def _count(config: dict[str, Any], *names: str) -> int | None:
    """The first of some entries that is a whole number above 0."""
    values = (config.get(name) for name in names)
    return next((value for value in values if type(value) is int and value > 0), None)


def _context(config: dict[str, Any], asked: int | None) -> int | None:
    text = config.get("text_config") or config
    if not isinstance(text, dict):
        return asked
    own = _count(text, "max_position_embeddings", "n_positions")
    lengths = [n for n in (own, asked) if n]
    return min(lengths) if lengths else None
