"""Loads a model's weights and tokenizer with transformers."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from local_inference_service.architecture import check_architecture
from local_inference_service.hub import fetch_model
from local_inference_service.model_files import ModelFiles, check_files
from local_inference_service.progress import LoadError, OutOfMemory, Progress, quiet
from marsys.v1 import LoadStage

__all__ = [
    "fetch_model",
    "load_model",
    "model_defaults",
    "read_model",
    "resolve_device",
    "resolve_dtype",
]

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# transformers sets PyTorch's default type, which is one for the process, while it builds a model.
_BUILDING = threading.Lock()


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


def load_model(
    directory: str,
    dtype: torch.dtype | str,
    device: str,
    trust_remote_code: bool,
    progress: Progress = quiet,
) -> tuple[Any, Any]:
    """The text model and tokenizer of a directory.

    Args:
        directory: where the files are.
        dtype: type of the weights; "auto": the model's own.
        device: where they go, as transformers' device_map has it.
        trust_remote_code: whether the model's own Python code may run.
        progress: told how much of the weights is in memory.

    Raises:
        LoadError: files are missing, broken, pickled, or of an architecture that transformers
            doesn't know.
    """
    files = check_files(Path(directory))
    check_architecture(files.config, "llm", trust_remote_code, files.directory.name)
    tokenizer = load_part(transformers.AutoTokenizer, directory, trust_remote_code)
    model = read_model(
        transformers.AutoModelForCausalLM, files, dtype, device, trust_remote_code, progress
    )
    return model, tokenizer


def load_part(kind: Any, directory: str, trust_remote_code: bool, **options: Any) -> Any:
    """A tokenizer or processor.

    Args:
        kind: transformers' class, such as AutoTokenizer.
        directory: where the files are.
        trust_remote_code: whether the model's own Python code may run.
        **options: further arguments of its from_pretrained.

    Raises:
        LoadError: it can't be made of these files.
    """
    try:
        return kind.from_pretrained(directory, trust_remote_code=trust_remote_code, **options)
    except Exception as error:  # transformers and tokenizers raise their own
        log.info("loading the tokenizer or processor of %s failed", directory, exc_info=True)
        what = kind.__name__.removeprefix("Auto").lower()
        raise LoadError(f"its {what} can't be loaded: {_first_line(error)}") from error


def read_model(
    kind: Any,
    files: ModelFiles,
    dtype: torch.dtype | str,
    device: str,
    trust_remote_code: bool,
    progress: Progress = quiet,
    **options: Any,
) -> Any:
    """A model with its weights, ready to generate.

    Args:
        kind: transformers' class, such as AutoModelForCausalLM.
        files: what check_files found.
        dtype: type of the weights; "auto": the model's own.
        device: where they go, as transformers' device_map has it.
        trust_remote_code: whether the model's own Python code may run.
        progress: told how much of the weights is in memory.
        **options: further arguments of its from_pretrained.

    Raises:
        LoadError: the weights don't fit the architecture, or don't fit into memory.
    """
    if not sys.stderr.isatty():  # a bar in a log file is noise
        transformers.utils.logging.disable_progress_bar()
    name = files.directory.name
    try:
        with _BUILDING, _told(progress, files.nbytes):
            model, said = kind.from_pretrained(
                str(files.directory),
                dtype=dtype,
                device_map=device,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # to name them: see _check_complete
                output_loading_info=True,
                **options,
            )
    except LoadError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(f"{name} doesn't fit into the device's memory") from error
    except Exception as error:  # transformers and safetensors raise their own
        if "DefaultCPUAllocator" in str(error):  # PyTorch has no class for it on the CPU
            raise OutOfMemory(f"{name} doesn't fit into memory") from error
        log.info("loading %s failed", files.directory, exc_info=True)
        raise LoadError(_first_line(error)) from error
    _check_complete(said, name)
    return model.eval()


def model_defaults(model: Any) -> dict[str, Any]:
    """What the model's generation_config sets explicitly."""
    values: dict[str, Any] = model.generation_config.to_diff_dict()
    return json.loads(json.dumps(values, default=str))  # type: ignore[no-any-return]


def _check_complete(said: Any, name: str) -> None:
    """transformers gives random numbers to weights that the files lack, and only warns."""
    mismatched = sorted(said["mismatched_keys"], key=str)
    if mismatched:
        tensor, stored, wanted = mismatched[0]
        raise LoadError(
            f"{len(mismatched)} of the weights of {name} have other shapes than config.json says, "
            f"such as {tensor}: {tuple(stored)} instead of {tuple(wanted)}"
        )
    missing = sorted(said["missing_keys"])
    if missing:
        raise LoadError(
            f"the files of {name} lack {len(missing)} of the model's weights, such as {missing[0]}"
        )
    if said["unexpected_keys"]:
        log.info("%s has %d weights that aren't used", name, len(said["unexpected_keys"]))


@contextmanager
def _told(progress: Progress, total: int) -> Iterator[None]:
    """Tell how many bytes of the weights have been put in place, while transformers does it.

    The weights are told by their number: a share of them is taken for that share of the bytes.
    """
    progress(LoadStage.LOAD_STAGE_LOADING, 0, total)
    thread = threading.get_ident()

    def hook(factory: Callable[..., Any], given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        items = given[0] if given else options.get("iterable")
        bar = factory(*given, **options)
        mine = threading.get_ident() == thread and options.get("desc") == "Loading weights"
        return _counted(bar, len(items), progress, total) if mine and items else bar

    before = transformers.utils.logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        transformers.utils.logging.set_tqdm_hook(before)


def _counted(bar: Iterable[Any], count: int, progress: Progress, total: int) -> Iterator[Any]:
    for number, item in enumerate(bar, start=1):
        yield item
        progress(LoadStage.LOAD_STAGE_LOADING, total * number // count, total)


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
