"""Whether transformers can run what a config.json describes, as the kind of model asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import transformers
from transformers.models.auto import configuration_auto, modeling_auto

from local_inference_service.progress import LoadError

# Keys of config.json whose value, where it names a repository, makes transformers fetch and run
# compiled code from there.
_KERNEL_KEYS = (
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "_experts_implementation_internal",
)


def check_architecture(
    config: dict[str, Any], model_class: str, trust_remote_code: bool, name: str
) -> None:
    """Check a model's config.json.

    Args:
        config: its content.
        model_class: what the model shall be: "llm" or "vlm".
        trust_remote_code: whether the model's own Python code may run.
        name: the model, for the error.

    Raises:
        LoadError: the architecture isn't known, isn't of that kind, or wants code that may not run.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise LoadError(f"config.json of {name} says no model_type")
    if not trust_remote_code:
        _refuse_kernels(config)
    if "auto_map" in config and trust_remote_code:
        return  # its own code decides
    if kind not in configuration_auto.CONFIG_MAPPING_NAMES:
        if "auto_map" in config:
            raise LoadError(
                f"{name} wants to run Python code of its own (auto_map in config.json); if you "
                "trust it, set trust_remote_code, which the operator must allow (allow_remote_code)"
            )
        raise LoadError(
            f"transformers {transformers.__version__} knows no architecture {kind!r} "
            "(model_type in config.json); a newer release may"
        )
    writes = kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not _is_encoder(config)
    sees = kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if not writes and not sees:
        raise LoadError(f"{name} ({kind}) is no model that generates text")
    if model_class == "llm" and not writes:
        raise LoadError(f"{name} ({kind}) is a vision-language model: load it as model class VLM")
    if model_class == "vlm" and not sees:
        raise LoadError(f"{name} ({kind}) is a text model: load it as model class LLM")


def _is_encoder(config: dict[str, Any]) -> bool:
    """Whether a model only reads, or reads with one half and writes with the other.

    transformers could take its parts for a language model, with random numbers where they differ.
    """
    masked = config["model_type"] in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return bool(config.get("is_encoder_decoder")) or (masked and not config.get("is_decoder"))


def _refuse_kernels(config: dict[str, Any]) -> None:
    for key, value in _entries(config):
        names = value.values() if isinstance(value, dict) else (value,)
        if key in _KERNEL_KEYS and any("/" in str(name) for name in names):
            raise LoadError(
                f"config.json wants to fetch and run compiled code ({key}: {value!r}); remove it"
            )


def _entries(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested configurations."""
    if depth > 8:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner, depth + 1)
