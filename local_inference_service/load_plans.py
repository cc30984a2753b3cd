"""Turns what is to be loaded into a plan that the pool carries out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.adapters.factory import LocalAdapterFactory
from local_inference_service.architecture import check_architecture
from local_inference_service.load_options import (
    LoadRules,
    adapter_arguments,
    is_vllm,
    model_class_of,
)
from local_inference_service.media_rules import MediaRules
from local_inference_service.memory import CPU, accelerator, devices, kind_of, total_memory
from local_inference_service.memory_need import MemoryNeed, huggingface_need, vllm_need
from local_inference_service.model_files import ModelFiles, check_files
from local_inference_service.model_source import ModelSource
from local_inference_service.pool_entry import LoadPlan
from local_inference_service.progress import Progress
from local_inference_service.room import Limits
from local_inference_service.weights import resolve_device, resolve_dtype
from marsys.v1 import LoadOptions
from serving.errors import invalid

# Share of the budget that is set aside for one model's keys and values, unless kv_cache_bytes says.
_CACHE_SHARE = 4
# Of that, for the keys and values of ended requests.
_PREFIX_SHARE = 4
_MOST_PREFIX_BYTES = 1 << 30
_ARGUMENT = re.compile(r"[a-z_]+")
_OPTIONS = {field.name for field in LoadOptions.DESCRIPTOR.fields}


@dataclass(frozen=True)
class LoadPlans:
    """Makes plans by the operator's settings.

    Attributes:
        rules: what callers may ask for.
        limits: what memory there is.
        media_rules: where the images of a request may come from.
    """

    rules: LoadRules
    limits: Limits
    media_rules: MediaRules

    def make(
        self,
        name: str,
        source: ModelSource,
        options: LoadOptions,
        *,
        pinned: bool = False,
        allowed: bool = True,
    ) -> LoadPlan:
        """How to load a model.

        Args:
            name: under which it is asked for.
            source: where it comes from.
            options: how to load it.
            pinned: whether it is dropped only when somebody asks for that.
            allowed: whether it may be loaded where it isn't yet.

        Raises:
            ServiceError: an option is wrong or isn't allowed.
        """
        arguments = adapter_arguments(options, self.rules)
        return LoadPlan(
            name=name,
            source=source.name,
            is_path=source.is_path,
            options=options,
            fetch=source.fetch,
            estimate=lambda directory: self._estimate(directory, options, arguments),
            open=lambda directory, need, progress: self._open(
                directory, options, arguments, need, progress
            ),
            pinned=pinned,
            allowed=allowed,
        )

    def _estimate(
        self, directory: Path, options: LoadOptions, arguments: dict[str, Any]
    ) -> MemoryNeed:
        files = check_files(directory)
        if is_vllm(options):
            return _estimate_vllm(files, arguments)
        check_architecture(
            files.config, model_class_of(options), options.trust_remote_code, directory.name
        )
        device = resolve_device(arguments["device_map"])
        kind = kind_of(device)
        return huggingface_need(
            files,
            kind=kind,
            dtype=_dtype(files, arguments["torch_dtype"], device),
            max_model_len=arguments["max_model_len"],
            max_active=arguments["max_active"],
            cache_bytes=arguments.get("kv_cache_bytes"),
            most_cache=self.limits.budget(kind) // _CACHE_SHARE,
        )

    def _open(
        self,
        directory: Path,
        options: LoadOptions,
        arguments: dict[str, Any],
        need: MemoryNeed,
        progress: Progress,
    ) -> LocalProviderAdapter:
        backend = "vllm"
        more: dict[str, Any] = {}
        if not is_vllm(options):
            backend = "huggingface"
            # The engine is held to what was set aside for it.
            more["kv_cache_bytes"] = need.cache
            if "prefix_cache_bytes" not in arguments:
                more["prefix_cache_bytes"] = min(need.cache // _PREFIX_SHARE, _MOST_PREFIX_BYTES)
        model_class = model_class_of(options)
        if model_class == "vlm":
            more["media_rules"] = self.media_rules
        try:
            return LocalAdapterFactory.create_adapter(
                backend, str(directory), model_class, **arguments | more, progress=progress
            )
        except ValueError as error:
            raise _refused(error) from error


def _dtype(files: ModelFiles, asked: str, device: str) -> str:
    """The name of the type that transformers gives the weights; "auto" where they keep theirs."""
    resolved = resolve_dtype(asked, device)
    if isinstance(resolved, torch.dtype):
        return str(resolved).removeprefix("torch.")
    return str(files.config.get("dtype") or files.config.get("torch_dtype") or "auto")


def _estimate_vllm(files: ModelFiles, arguments: dict[str, Any]) -> MemoryNeed:
    kind = accelerator() or CPU
    engine = arguments["engine_options"]
    gpus = arguments["tensor_parallel_size"]
    stages = engine.get("pipeline_parallel_size", 1)
    chosen = engine.get("kv_cache_memory_bytes")
    dtype = resolve_dtype(arguments["torch_dtype"], kind)
    return vllm_need(
        files,
        kind=kind,
        dtype=str(dtype).removeprefix("torch."),
        quantization=arguments["quantization"] or "",
        share=arguments["gpu_memory_utilization"],
        gpus=gpus * stages if type(stages) is int else gpus,
        gpu_bytes=total_memory(kind) // max(len(devices()) - 1, 1),
        cache_bytes=chosen if type(chosen) is int else None,
    )


def _refused(error: ValueError) -> Exception:
    """INVALID_ARGUMENT for what an adapter's constructor doesn't take."""
    text = str(error)
    begin = _ARGUMENT.match(text)
    if begin is not None and begin[0] in _OPTIONS:
        field = f"options.{begin[0]}"
        return invalid(field, text.removeprefix(begin[0]).lstrip(": "))
    return invalid("options", text)
