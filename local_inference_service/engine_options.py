"""engine_options_json: further arguments of a backend's engine, and who may set them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from local_inference_service.parsing import FAMILIES
from marsys.v1 import Backend, ErrorReason, LoadOptions
from serving.errors import invalid, service_error, unsupported

_FIELD = "options.engine_options_json"
ANY = "*"
TOOL_PARSER = "tool_parser"  # taken by both backends

# Lowest value of each option of the huggingface backend's engine.
_HUGGINGFACE = {
    "max_active": 1,
    "max_queued": 0,
    "max_tokens": 1,
    "thinking_budget": 0,
    "kv_cache_bytes": 1,
    "prefix_cache_bytes": 0,
}
# Options of vLLM's engine that only tune it. Others may run code, load plug-ins, read or write
# files, open ports, or reach other machines, so a caller needs the operator's word for them.
_VLLM_TUNING = frozenset(
    {
        "async_scheduling",
        "block_size",
        "cpu_offload_gb",
        "disable_cascade_attn",
        "disable_chunked_mm_input",
        "disable_log_stats",
        "disable_sliding_window",
        "enable_chunked_prefill",
        "enable_expert_parallel",
        "enable_prefix_caching",
        "enforce_eager",
        "interleave_mm_strings",
        "kv_cache_dtype",
        "kv_cache_memory_bytes",
        "language_model_only",
        "limit_mm_per_prompt",
        "long_prefill_token_threshold",
        "max_logprobs",
        "max_num_batched_tokens",
        "max_num_seqs",
        "mm_processor_cache_gb",
        "num_gpu_blocks_override",
        "optimization_level",
        "performance_mode",
        "pipeline_parallel_size",
        "scheduling_policy",
        "seed",
        "skip_mm_profiling",
        "stream_interval",
    }
)
# These have options of their own in LoadOptions.
_SET_ELSEWHERE = {
    "dtype": "torch_dtype",
    "max_model_len": "max_model_len",
    "tensor_parallel_size": "tensor_parallel_size",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "quantization": "quantization",
    "revision": "revision",
    "trust_remote_code": "trust_remote_code",
    "torch_dtype": "torch_dtype",
    "device_map": "device_map",
}


def check_engine_options(options: LoadOptions, allowed: Collection[str]) -> dict[str, Any]:
    """The engine options of a load.

    Args:
        options: the load's options.
        allowed: names that the operator lets callers set beside those that only tune vLLM's
            engine; "*": all.

    Raises:
        ServiceError: the text is no JSON object, or an option isn't taken or isn't allowed.
    """
    if not options.engine_options_json:
        return {}
    try:
        value = json.loads(options.engine_options_json)
    except (ValueError, RecursionError) as error:
        raise invalid(_FIELD, f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid(_FIELD, "must be a JSON object")
    for name in value:
        if name in _SET_ELSEWHERE:
            raise invalid(_FIELD, f"{name} is given as options.{_SET_ELSEWHERE[name]}")
    parser = value.get(TOOL_PARSER)
    if TOOL_PARSER in value and (not isinstance(parser, str) or parser not in FAMILIES):
        raise invalid(_FIELD, f"{TOOL_PARSER} must be {', '.join(sorted(FAMILIES))}")
    if options.backend == Backend.BACKEND_VLLM:
        for name in value.keys() - {TOOL_PARSER}:
            _check_allowed(name, allowed)
    else:
        for name, chosen in value.items():
            _check_huggingface(name, chosen)
    return value


def _check_huggingface(name: str, value: Any) -> None:
    if name == TOOL_PARSER:
        return
    if name not in _HUGGINGFACE:
        raise unsupported(
            _FIELD,
            f"the huggingface backend takes no {name!r}, but "
            f"{', '.join(sorted([*_HUGGINGFACE, TOOL_PARSER]))}",
        )
    least = _HUGGINGFACE[name]
    if type(value) is not int or not least <= value < 2**63:
        raise invalid(_FIELD, f"{name} must be a whole number, {least} or more")


def _check_allowed(name: str, allowed: Collection[str]) -> None:
    if name in _VLLM_TUNING or name in allowed or ANY in allowed:
        return
    raise service_error(
        ErrorReason.ERROR_REASON_NOT_ALLOWED,
        f"{_FIELD}: the operator has not allowed {name!r} (allow_engine_options)",
        field=_FIELD,
    )
