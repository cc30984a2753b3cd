"""Finds a model's files and loads them with transformers."""

from __future__ import annotations

import json
import logging
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
import transformers

from local_inference_service.progress import LoadError, Progress
from marsys.v1 import LoadStage

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What a text model needs. Pickled weights (*.bin) can run code when they are read.
_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")
_UNWANTED = ("original/*", "onnx/*", "openvino/*", "*.bin.index.json")


def resolve_dtype(name: str, device: str) -> torch.dtype | str:
    """The torch type of a name; "auto" is the model's own, but float32 on CPUs without bfloat16.

    Raises:
        ValueError: the name isn't known.
    """
    if name in _DTYPES:
        return _DTYPES[name]
    if name not in ("", "auto"):
        raise ValueError(f"must be auto, {', '.join(_DTYPES)}; not {name!r}")
    return torch.float32 if device == "cpu" and not _cpu_has_bfloat16() else "auto"


def resolve_device(device_map: str) -> str:
    """Where the weights go: "auto" is the accelerator if there is one, else the CPU."""
    if device_map not in ("", "auto"):
        return device_map
    return "auto" if torch.accelerator.is_available() else "cpu"


def fetch_model(name: str, revision: str | None, progress: Progress) -> str:
    """Directory of a model: the name itself if it is one, else a hub model's local copy.

    Raises:
        LoadError: the hub can't be reached or doesn't have the model.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if name.startswith(("/", ".", "~")):
        raise LoadError(f"there is no directory {name}")
    try:
        return _fetch_from_hub(name, revision, progress)
    except LoadError:
        raise
    except Exception as error:  # the hub's client raises errors of many libraries
        raise LoadError(f"{name} can't be fetched from the hub: {_first_line(error)}") from error


def load_model(
    directory: str, dtype: torch.dtype | str, device: str, trust_remote_code: bool
) -> tuple[Any, Any]:
    """The model and tokenizer of a directory.

    Raises:
        LoadError: files are missing, broken, pickled, or of an architecture that transformers
            doesn't know.
    """
    _refuse_pickles(Path(directory))
    if not sys.stderr.isatty():  # a bar in a log file is noise
        transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            directory, trust_remote_code=trust_remote_code
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            device_map=device,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
        )
    except torch.OutOfMemoryError as error:
        raise LoadError("the model doesn't fit into the device's memory") from error
    except Exception as error:  # transformers, safetensors and tokenizers raise their own
        log.info("loading %s failed", directory, exc_info=True)
        raise LoadError(_first_line(error)) from error
    model.eval()
    return model, tokenizer


def _fetch_from_hub(name: str, revision: str | None, progress: Progress) -> str:
    import huggingface_hub

    progress(LoadStage.LOAD_STAGE_DOWNLOADING, None, None)
    try:
        return str(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
                local_files_only=True,
            )
        )
    except huggingface_hub.errors.LocalEntryNotFoundError:
        log.info("fetching %s from the hub", name)
    info = huggingface_hub.HfApi().model_info(name, revision=revision, files_metadata=True)
    files = [file for file in info.siblings or () if _is_wanted(file.rfilename)]
    total = sum(file.size or 0 for file in files)
    done = 0
    for file in files:
        huggingface_hub.hf_hub_download(name, file.rfilename, revision=info.sha)
        done += file.size or 0
        progress(LoadStage.LOAD_STAGE_DOWNLOADING, done, total)
    return str(huggingface_hub.snapshot_download(name, revision=info.sha, local_files_only=True))


def _is_wanted(name: str) -> bool:
    wanted = any(fnmatch(name, pattern) for pattern in _WANTED)
    return wanted and not any(fnmatch(name, pattern) for pattern in _UNWANTED)


def _refuse_pickles(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise LoadError(f"{directory.name} holds no model: config.json is missing")
    if any(directory.glob("*.safetensors")):
        return
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        raise LoadError(
            f"the weights of {directory.name} are pickled, and reading them could run code; "
            "safetensors are needed"
        )
    raise LoadError(f"{directory.name} holds no weights (*.safetensors)")


def model_defaults(model: Any) -> dict[str, Any]:
    """What the model's generation_config sets explicitly."""
    values: dict[str, Any] = model.generation_config.to_diff_dict()
    return json.loads(json.dumps(values, default=str))  # type: ignore[no-any-return]


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
