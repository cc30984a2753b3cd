"""LoadOptions -> what an adapter takes, or an error that names the option."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from typing import Any

from local_inference_service.engine_options import TOOL_PARSER, check_engine_options
from local_inference_service.memory import accelerator, devices
from local_inference_service.weights import resolve_dtype
from marsys.v1 import Backend, ErrorReason, LoadOptions, ModelClass
from serving.errors import invalid, service_error, unsupported

_VLLM_ONLY = ("tensor_parallel_size", "gpu_memory_utilization", "quantization")
_HUGGINGFACE_ONLY = ("device_map",)
_QUANTIZATIONS = ("awq", "gptq", "fp8")
_SPREAD = ("balanced", "balanced_low_0", "sequential")
_MAX_ACTIVE = 16
_MOST_GPUS = 1024
# What an option means that isn't set.
_DEFAULTS: dict[str, Any] = {
    "model_class": ModelClass.MODEL_CLASS_LLM,
    "backend": Backend.BACKEND_HUGGINGFACE,
    "torch_dtype": "auto",
    "device_map": "auto",
    "revision": "main",
    "tensor_parallel_size": 1,
    "gpu_memory_utilization": 0.9,
}


@dataclass(frozen=True, slots=True)
class LoadRules:
    """What callers may load, and how it runs.

    Attributes:
        allow_remote_code: whether a model's own Python code may run.
        allow_engine_options: further engine options of vllm that callers may set; "*": all.
        max_active: requests of one model that run side by side; None: 16 on huggingface, vLLM's
            own number on vllm.
        max_queued: requests of one model that wait.
    """

    allow_remote_code: bool = False
    allow_engine_options: frozenset[str] = frozenset()
    max_active: int | None = None
    max_queued: int = 64


def is_vllm(options: LoadOptions) -> bool:
    """Whether vLLM shall run the model."""
    return options.backend == Backend.BACKEND_VLLM


def model_class_of(options: LoadOptions) -> str:
    """ "llm" or "vlm"."""
    return "vlm" if options.model_class == ModelClass.MODEL_CLASS_VLM else "llm"


def adapter_arguments(options: LoadOptions, rules: LoadRules) -> dict[str, Any]:
    """Keyword arguments of the adapter. The revision isn't among them: it is the source's.

    Raises:
        ServiceError: an option is wrong, isn't taken by the backend, or isn't allowed.
    """
    _check_kind(options)
    _check_backend(options)
    if options.trust_remote_code and not rules.allow_remote_code:
        raise service_error(
            ErrorReason.ERROR_REASON_NOT_ALLOWED,
            "options.trust_remote_code: the operator has not allowed code of models to run "
            "(allow_remote_code)",
            field="options.trust_remote_code",
        )
    if options.HasField("max_model_len") and options.max_model_len < 1:
        raise invalid("options.max_model_len", "must be 1 or more")
    try:
        resolve_dtype(options.torch_dtype, "cpu")
    except ValueError as error:
        raise invalid("options.torch_dtype", str(error)) from None
    arguments: dict[str, Any] = {
        "torch_dtype": options.torch_dtype or "auto",
        "trust_remote_code": options.trust_remote_code,
        "max_model_len": options.max_model_len if options.HasField("max_model_len") else None,
        "max_queued": rules.max_queued,
    }
    engine = check_engine_options(options, rules.allow_engine_options)
    if TOOL_PARSER in engine:
        arguments[TOOL_PARSER] = engine.pop(TOOL_PARSER)
    if is_vllm(options):
        if "max_num_seqs" not in engine:
            arguments["max_active"] = rules.max_active
        return arguments | _vllm_arguments(options) | {"engine_options": engine}
    _check_device(options.device_map)
    arguments |= {
        "device_map": options.device_map or "auto",
        "max_active": rules.max_active or _MAX_ACTIVE,
    }
    return arguments | engine


def conflicts(asked: LoadOptions, loaded: LoadOptions) -> list[str]:
    """Names of the options that were set and differ from those of a loaded model."""
    return [
        field.name
        for field, value in asked.ListFields()
        if _meaning(field.name, value) != _meaning(field.name, getattr(loaded, field.name))
    ]


def _meaning(name: str, value: Any) -> Any:
    if name == "engine_options_json":
        return json.loads(value or "{}")
    return value or _DEFAULTS.get(name, value)


def _check_kind(options: LoadOptions) -> None:
    if options.backend not in Backend.values():
        raise invalid("options.backend", "is no known backend")
    if options.model_class not in ModelClass.values():
        raise invalid("options.model_class", "is no known kind of model")


def _check_backend(options: LoadOptions) -> None:
    """The backend must be there, and no option of the other one set."""
    others: tuple[str, ...] = _VLLM_ONLY
    other = "vllm"
    if is_vllm(options):
        others, other = _HUGGINGFACE_ONLY, "huggingface"
    given = {field.name for field, _ in options.ListFields()}
    for name in others:
        if name in given:
            raise unsupported(f"options.{name}", f"is taken by the {other} backend only")
    if is_vllm(options) and importlib.util.find_spec("vllm") is None:
        raise unsupported(
            "options.backend",
            "this service runs without vLLM; the operator can add it with "
            "pip install 'marsys-models[vllm]'",
        )


def _vllm_arguments(options: LoadOptions) -> dict[str, Any]:
    gpus = options.tensor_parallel_size if options.HasField("tensor_parallel_size") else 1
    if not 1 <= gpus <= _MOST_GPUS:
        raise invalid("options.tensor_parallel_size", f"must be 1 to {_MOST_GPUS}")
    share = _DEFAULTS["gpu_memory_utilization"]
    if options.HasField("gpu_memory_utilization"):
        share = options.gpu_memory_utilization
    if not 0 < share <= 1:  # NaN too
        raise invalid("options.gpu_memory_utilization", "must be above 0 to 1")
    if options.quantization and options.quantization not in _QUANTIZATIONS:
        raise invalid("options.quantization", f"must be {', '.join(_QUANTIZATIONS)}")
    return {
        "tensor_parallel_size": gpus,
        "gpu_memory_utilization": share,
        "quantization": options.quantization or None,
    }


def _check_device(device_map: str) -> None:
    if device_map in ("", "auto"):
        return
    kind = accelerator()
    there = devices()
    if device_map in there or device_map == kind or (device_map in _SPREAD and kind is not None):
        return
    forms = "auto, cpu, a device such as cuda:0, balanced, balanced_low_0 or sequential"
    raise invalid(
        "options.device_map",
        f"must be {forms}; {device_map[:64]!r} isn't there: this machine has {', '.join(there)}",
    )
