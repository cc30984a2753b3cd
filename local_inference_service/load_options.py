"""LoadOptions -> what an adapter takes, or an error that names the option."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from local_inference_service.weights import resolve_dtype
from marsys.v1 import Backend, ErrorReason, LoadOptions, ModelClass
from serving.errors import invalid, service_error, unsupported

_VLLM_ONLY = ("tensor_parallel_size", "gpu_memory_utilization", "quantization")


@dataclass(frozen=True, slots=True)
class LoadRules:
    """What callers may load.

    Attributes:
        allow_remote_code: whether a model's own Python code may run.
    """

    allow_remote_code: bool = False


def adapter_arguments(options: LoadOptions, rules: LoadRules) -> dict[str, Any]:
    """Keyword arguments of the adapter.

    Raises:
        ServiceError: an option is wrong, isn't taken by the backend, or isn't allowed.
    """
    _check_kind(options)
    given = {field.name for field, _ in options.ListFields()}
    for name in _VLLM_ONLY:
        if name in given:
            raise unsupported(f"options.{name}", "is taken by the vllm backend only")
    if options.trust_remote_code and not rules.allow_remote_code:
        raise service_error(
            ErrorReason.ERROR_REASON_NOT_ALLOWED,
            "options.trust_remote_code: the operator has not allowed code of models to run",
            field="options.trust_remote_code",
        )
    if options.HasField("max_model_len") and options.max_model_len < 1:
        raise invalid("options.max_model_len", "must be 1 or more")
    try:
        resolve_dtype(options.torch_dtype, "cpu")
    except ValueError as error:
        raise invalid("options.torch_dtype", str(error)) from None
    _check_engine_options(options.engine_options_json)
    return {
        "torch_dtype": options.torch_dtype or "auto",
        "device_map": options.device_map or "auto",
        "trust_remote_code": options.trust_remote_code,
        "revision": options.revision or None,
        "max_model_len": options.max_model_len if options.HasField("max_model_len") else None,
    }


def conflicts(asked: LoadOptions, loaded: LoadOptions) -> list[str]:
    """Names of the options that were set and differ from those of a loaded model."""
    return [
        field.name for field, value in asked.ListFields() if getattr(loaded, field.name) != value
    ]


def _check_kind(options: LoadOptions) -> None:
    if options.backend not in Backend.values():
        raise invalid("options.backend", "is no known backend")
    if options.backend == Backend.BACKEND_VLLM:
        raise unsupported("options.backend", "this service has no vllm backend")
    if options.model_class not in ModelClass.values():
        raise invalid("options.model_class", "is no known kind of model")
    if options.model_class == ModelClass.MODEL_CLASS_VLM:
        raise unsupported("options.model_class", "this service runs text models only")


def _check_engine_options(text: str) -> None:
    if not text:
        return
    try:
        value = json.loads(text)
    except ValueError as error:
        raise invalid("options.engine_options_json", f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid("options.engine_options_json", "must be a JSON object")
    if value:
        name = next(iter(value))
        raise unsupported(
            "options.engine_options_json", f"the huggingface backend takes no {name!r}"
        )
