"""Brings a hub model's files onto this machine, and tells how many bytes have come."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from tqdm.std import tqdm  # type: ignore[import-untyped]

from local_inference_service.model_files import check_files
from local_inference_service.progress import LoadError, Progress
from marsys.v1 import LoadStage

log = logging.getLogger(__name__)

# Pickled weights (*.bin) can run code when they are read.
_FILES: dict[str, Any] = {
    "allow_patterns": [
        "*.json",
        "*.safetensors",
        "*.model",
        "*.txt",
        "*.jinja",
        "*.py",
        "*.tiktoken",
    ],
    "ignore_patterns": [
        "original/*",
        "onnx/*",
        "openvino/*",
        "consolidated*.safetensors",
        "*.bin.index.json",
    ],
}


def fetch_model(name: str, revision: str | None, progress: Progress) -> str:
    """Directory of a model: the name itself if it is one, else a hub model's local copy.

    A copy that is whole is taken as it is, without a look at the hub.

    Args:
        name: directory, or hub name.
        revision: branch, tag or commit of a hub model; None: its main branch.
        progress: told the bytes that have come, and those of all files that are wanted.

    Raises:
        LoadError: the hub can't be reached or doesn't have the model.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if name.startswith(("/", ".", "~")):
        raise LoadError(f"there is no directory {name}")
    try:
        local = huggingface_hub.snapshot_download(
            name, revision=revision, local_files_only=True, **_FILES
        )
        check_files(Path(local))
    except HFValidationError as error:
        raise LoadError(f"{name!r} is no name of a hub model: {error}") from error
    except (LocalEntryNotFoundError, LoadError) as error:
        log.info("fetching %s from the hub (%s)", name, _first_line(error))
    else:
        return str(local)
    try:
        return _download(name, revision, progress)
    except LoadError:
        raise
    except Exception as error:  # the hub's client raises errors of many libraries
        raise LoadError(f"{name} can't be fetched from the hub: {_first_line(error)}") from error


def _download(name: str, revision: str | None, progress: Progress) -> str:
    stage = LoadStage.LOAD_STAGE_DOWNLOADING
    progress(stage, None, None)
    plan = huggingface_hub.snapshot_download(
        name, revision=revision, dry_run=True, tqdm_class=_bar(lambda come: None), **_FILES
    )
    total = sum(file.file_size for file in plan)
    there = sum(file.file_size for file in plan if not file.will_download)
    progress(stage, there, total)

    def tell(come: int) -> None:
        progress(stage, min(there + come, total), total)

    directory = huggingface_hub.snapshot_download(
        name, revision=revision, tqdm_class=_bar(tell), **_FILES
    )
    progress(stage, total, total)
    return str(directory)


def _bar(tell: Callable[[int], None]) -> Any:
    """What the hub's client takes for its progress bars: it shows nothing, and counts bytes."""

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            self._of_bytes = options.get("unit") == "B"
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self._of_bytes:
                tell(int(self.n))

    return Bar


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
