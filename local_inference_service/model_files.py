"""What a model's directory holds, checked without reading its weights.

A broken download, a pickle or an index that points elsewhere is found here, in milliseconds and
with a text that names the file, before anything large is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_inference_service.progress import LoadError
from local_inference_service.safetensors_header import Tensor, read_header

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "*.tiktoken",
)


@dataclass(frozen=True)
class ModelFiles:
    """A model's directory whose files are all there and whole.

    Attributes:
        directory: where they are.
        config: config.json.
        weights: the safetensors files that hold the weights.
        tensors: what stands in them, by name.
    """

    directory: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    tensors: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, as they are stored."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def check_files(directory: Path) -> ModelFiles:
    """Check a model's directory.

    Args:
        directory: where the files should be.

    Raises:
        LoadError: something is missing, broken, of a form that can't be loaded, or would run code
            when it is read.
    """
    if not directory.is_dir():
        raise LoadError(f"there is no directory {directory}")
    if not any(directory.iterdir()):
        raise LoadError(f"{directory.name} is empty")
    config = _read_config(directory)
    weights = _weight_files(directory, config)
    tensors: dict[str, Tensor] = {}
    for file in weights:
        tensors.update(read_header(file))
    if not tensors:
        raise LoadError(f"{weights[0].name} holds no tensors")
    _check_index(directory, weights)
    _check_tokenizer(directory)
    return ModelFiles(directory, config, weights, tensors)


def read_json_object(file: Path) -> dict[str, Any]:
    """A JSON file whose root is an object.

    Raises:
        LoadError: it can't be read, or is no such JSON.
    """
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise LoadError(f"{file.name} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{file.name} is no valid JSON: fetch it again") from error
    if not isinstance(value, dict):
        raise LoadError(f"{file.name} is no JSON object")
    return value


def _read_config(directory: Path) -> dict[str, Any]:
    file = directory / "config.json"
    if file.is_file():
        config = read_json_object(file)
        if (directory / "adapter_config.json").is_file() and not any(
            directory.glob("model*.safetensors")
        ):
            raise LoadError(_adapter_only(directory))
        return config
    if (directory / "adapter_config.json").is_file():
        raise LoadError(_adapter_only(directory))
    gguf = next(iter(sorted(directory.glob("*.gguf"))), None)
    if gguf is not None:
        raise LoadError(
            f"{directory.name} holds a GGUF file only ({gguf.name}); convert it: load it with "
            "transformers (gguf_file=...) and save it with save_pretrained"
        )
    raise LoadError(f"{directory.name} holds no model: config.json is missing")


def _adapter_only(directory: Path) -> str:
    return (
        f"{directory.name} holds an adapter (adapter_config.json) and no whole model; merge it "
        "into its base model (PEFT: merge_and_unload) and save that"
    )


def _weight_files(directory: Path, config: dict[str, Any]) -> tuple[Path, ...]:
    """The files that hold the weights, as transformers chooses them."""
    named = config.get("transformers_weights")
    if named is not None:
        return _named_weights(directory, named)
    if (directory / _SINGLE).is_file():
        return (directory / _SINGLE,)
    if (directory / _INDEX).is_file():
        names = sorted(set(_weight_map(directory / _INDEX).values()))
        return tuple(_shard(directory, name, _INDEX) for name in names)
    others = sorted(file.name for file in directory.glob("*.safetensors"))
    if others:
        raise LoadError(
            f"{directory.name} has neither {_SINGLE} nor {_INDEX} (but {others[0]}): fetch it again"
        )
    pickles = sorted(file.name for pattern in _PICKLES for file in directory.glob(pattern))
    if pickles:
        raise LoadError(
            f"the weights of {directory.name} are pickled ({pickles[0]}), and reading them could "
            "run code; save them as safetensors"
        )
    if (directory / _SINGLE).is_symlink():
        raise LoadError(f"{_SINGLE} points to a file that isn't there: fetch it again")
    raise LoadError(f"{directory.name} holds no weights: {_SINGLE} is missing")


def _named_weights(directory: Path, named: object) -> tuple[Path, ...]:
    if not isinstance(named, str):
        raise LoadError("config.json: transformers_weights is no file name")
    file = _shard(directory, named.removesuffix(".index.json"), "config.json", must_exist=False)
    if not named.endswith(".index.json"):
        return (_shard(directory, named, "config.json"),)
    index = file.with_name(named)
    names = sorted(set(_weight_map(index).values()))
    return tuple(_shard(directory, name, named) for name in names)


def _shard(directory: Path, name: str, named_by: str, must_exist: bool = True) -> Path:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise LoadError(f"{named_by} points outside of the model's directory: {name!r}")
    if not name.endswith(".safetensors"):
        raise LoadError(
            f"{named_by} names {name!r}, which is no safetensors file; reading others could run "
            "code"
        )
    file = directory / name
    if must_exist and not file.is_file():
        raise LoadError(f"{name} is missing ({named_by} names it): fetch it again")
    return file


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise LoadError(f"{index.name} has no weight_map: fetch it again")
    if not all(isinstance(name, str) for name in weight_map.values()):
        raise LoadError(f"{index.name} has a weight_map whose values are no file names")
    return weight_map


def _check_index(directory: Path, weights: tuple[Path, ...]) -> None:
    """Each tensor of the index must stand in the shard that it names."""
    if weights[0].name == _SINGLE or not (directory / _INDEX).is_file():
        return
    weight_map = _weight_map(directory / _INDEX)
    found = {file.name: read_header(file).keys() for file in weights}
    for tensor, name in weight_map.items():
        if tensor not in found.get(name, ()):
            raise LoadError(f"{name} lacks the tensor {tensor!r} that {_INDEX} says it has")


def _check_tokenizer(directory: Path) -> None:
    if any(_files(directory, _TOKENIZERS)):
        return
    settings = directory / "tokenizer_config.json"
    if settings.is_file() and "auto_map" in read_json_object(settings):
        return  # its own code knows its files
    raise LoadError(
        f"{directory.name} has no tokenizer (tokenizer.json or the like); copy it from the model "
        "that this one was made of"
    )


def _files(directory: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    return (file for pattern in patterns for file in directory.glob(pattern) if file.is_file())
