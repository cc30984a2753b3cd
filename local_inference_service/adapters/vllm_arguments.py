"""Arguments of the vLLM adapter -> those of vLLM's engine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from local_inference_service.counts import check_count
from local_inference_service.parsing import Family
from local_inference_service.progress import LoadError
from local_inference_service.weights import resolve_dtype

QUANTIZATIONS = ("awq", "gptq", "fp8")
_CLASSES = ("llm", "vlm")
# Engine arguments with an argument of the adapter, and those that the adapter decides.
_OWN = {
    "model": "model_name",
    "dtype": "torch_dtype",
    "trust_remote_code": "trust_remote_code",
    "revision": "revision",
    "max_model_len": "max_model_len",
    "tensor_parallel_size": "tensor_parallel_size",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "quantization": "quantization",
}
_DECIDED = frozenset(
    {"tokenizer_mode", "skip_tokenizer_init", "generation_config", "enable_log_requests"}
)
_KV_CACHE_GIB = "4"


def import_vllm() -> Any:
    """The module vllm.

    Raises:
        LoadError: it isn't installed, or can't be imported. The text says what to do.
    """
    try:
        import vllm
        import vllm.engine.arg_utils
        import vllm.v1.engine.async_llm
    except ImportError as error:
        if error.name == "vllm":
            raise LoadError(
                "the vllm backend isn't installed: on a CUDA machine "
                "`pip install 'marsys-models[local,vllm]'`; on a CPU see docs/vllm.md"
            ) from error
        raise LoadError(f"vllm is installed but can't be imported: {error}") from error
    return vllm


def check_arguments(
    model_class: str,
    tensor_parallel_size: int,
    gpu_memory_utilization: float | None,
    quantization: str | None,
    max_model_len: int | None,
    engine_options: Mapping[str, Any],
) -> None:
    """Check what can be checked without vLLM.

    Raises:
        ValueError: an argument is wrong; the text names it.
    """
    if model_class not in _CLASSES:
        raise ValueError(f"model_class must be llm or vlm; not {model_class!r}")
    check_count("tensor_parallel_size", tensor_parallel_size, 1)
    check_count("max_model_len", max_model_len, 1)
    if gpu_memory_utilization is not None:
        number = isinstance(gpu_memory_utilization, (int, float))
        number = number and not isinstance(gpu_memory_utilization, bool)
        if not number or not 0 < gpu_memory_utilization <= 1:
            raise ValueError(
                "gpu_memory_utilization must be a number above 0 to 1; "
                f"not {gpu_memory_utilization!r}"
            )
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization must be awq, gptq or fp8; not {quantization!r}")
    for name in engine_options:
        if name in _OWN:
            raise ValueError(f"engine_options: {name} is set by the argument {_OWN[name]}")
        if name in _DECIDED:
            raise ValueError(f"engine_options: {name} can't be set")


def engine_arguments(
    directory: str,
    *,
    model_class: str,
    torch_dtype: str,
    trust_remote_code: bool,
    tensor_parallel_size: int,
    gpu_memory_utilization: float | None,
    quantization: str | None,
    max_model_len: int | None,
    engine_options: Mapping[str, Any],
) -> Any:
    """vLLM's AsyncEngineArgs. The other arguments have passed check_arguments.

    Raises:
        ValueError: the type isn't known, or vLLM knows no such engine option.
        LoadError: vllm isn't there.
    """
    vllm = import_vllm()
    arguments_class = vllm.engine.arg_utils.AsyncEngineArgs
    known = {field.name for field in fields(arguments_class)}
    for name in engine_options:
        if name not in known:
            raise ValueError(f"engine_options: vLLM knows no {name!r}")
    try:
        dtype = resolve_dtype(torch_dtype, "cpu" if on_cpu() else "cuda")
    except ValueError as error:
        raise ValueError(f"torch_dtype {error}") from None
    values: dict[str, Any] = {
        "model": directory,
        "dtype": str(dtype).removeprefix("torch."),
        "trust_remote_code": trust_remote_code,
        "tensor_parallel_size": tensor_parallel_size,
        "disable_log_stats": True,
        "structured_outputs_config": {"backend": "guidance"},  # whose grammars ours are
        "generation_config": "vllm",  # defaults are filled in here, for all backends alike
    }
    if on_cpu():
        values["enforce_eager"] = True
    if model_class == "llm":
        # A text model's images are refused here; room for them would be made all the same.
        values["limit_mm_per_prompt"] = {"image": 0, "video": 0, "audio": 0}
    else:
        # Prompts are made to be counted too, which vLLM's cache of images takes for being sent.
        values["mm_processor_cache_gb"] = 0
    for name, value in (
        ("gpu_memory_utilization", None if on_cpu() else gpu_memory_utilization),
        ("quantization", quantization),
        ("max_model_len", max_model_len),
    ):
        if value is not None:
            values[name] = value
    return arguments_class(**values | dict(engine_options))


def reasoning_config(family: Family) -> Any:
    """With what vLLM ends a thought whose budget is spent."""
    import_vllm()
    from vllm.config.reasoning import ReasoningConfig

    assert family.thought_marks is not None
    begin, end = family.thought_marks
    return ReasoningConfig(reasoning_start_str=begin, reasoning_end_str=end)


def on_cpu() -> bool:
    """Whether vLLM runs on the CPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def environment() -> dict[str, str]:
    """Environment variables for the engine's processes; what the operator set stays."""
    wanted = {
        # Its processes are started from a server with threads, and a fork would copy their locks.
        "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if on_cpu():
        wanted["TORCHDYNAMO_DISABLE"] = "1"  # compiling takes a minute and gains little
        wanted["VLLM_CPU_KVCACHE_SPACE"] = _KV_CACHE_GIB
    return {name: value for name, value in wanted.items() if name not in os.environ}


def memory_of(arguments: Any, weights: int) -> int:
    """Memory that an engine takes, in bytes.

    Args:
        arguments: the engine's AsyncEngineArgs.
        weights: bytes of the model's weights.
    """
    if on_cpu():
        gib = os.environ.get("VLLM_CPU_KVCACHE_SPACE", _KV_CACHE_GIB)
        return weights + int(math.ceil(float(gib)) * 1024**3)
    share = arguments.gpu_memory_utilization
    devices = arguments.tensor_parallel_size * arguments.pipeline_parallel_size
    return int(share * torch.cuda.get_device_properties(0).total_memory * devices)
