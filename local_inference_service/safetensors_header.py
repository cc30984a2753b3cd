"""The head of a safetensors file: names, types, shapes and places of its tensors.

The library reads it too, but says of a broken file only that it is broken.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_inference_service.progress import LoadError

_MOST = 100_000_000  # bytes of a header; the format's own bound
_LENGTH = 8  # bytes that hold the header's length
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        dtype: as safetensors names it: "F32", "BF16", "I8", ...
        shape: its dimensions.
        nbytes: bytes that it takes in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def is_float(self) -> bool:
        """Whether loading converts it to the type that is asked for."""
        return self.dtype in _FLOATS

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Raises:
        LoadError: the file can't be read, is cut short, or is none of this kind.
    """
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            length = int.from_bytes(opened.read(_LENGTH), "little")
            if size < _LENGTH or not 2 <= length <= _MOST:
                raise _broken(file, "its header's length makes no sense")
            if size < _LENGTH + length:
                raise _truncated(file, size, _LENGTH + length)
            text = opened.read(length)
    except OSError as error:
        raise LoadError(f"{file.name} can't be read: {error.strerror}") from error
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise _broken(file, "its header is no JSON") from None
    if not isinstance(header, dict):
        raise _broken(file, "its header is no JSON object")
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in header.items():
        tensors[name], entry_end = _tensor(file, name, entry)
        end = max(end, entry_end)
    expected = _LENGTH + length + end
    if size < expected:
        raise _truncated(file, size, expected)
    if size > expected:
        raise _broken(file, f"it has {size - expected:,} bytes after its last tensor")
    return tensors


def _tensor(file: Path, name: str, entry: Any) -> tuple[Tensor, int]:
    try:
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        dtype = entry["dtype"]
    except (KeyError, TypeError, ValueError):
        raise _broken(file, f"the entry of {name!r} is incomplete") from None
    numbers = (begin, end, *shape)
    if not isinstance(dtype, str) or not all(type(n) is int and n >= 0 for n in numbers):
        raise _broken(file, f"the entry of {name!r} makes no sense")
    if end < begin:
        raise _broken(file, f"the entry of {name!r} ends before it begins")
    return Tensor(dtype, shape, end - begin), end


def _truncated(file: Path, size: int, expected: int) -> LoadError:
    return LoadError(
        f"{file.name} is cut short: it has {size:,} bytes and should have {expected:,}; "
        "fetch it again"
    )


def _broken(file: Path, why: str) -> LoadError:
    return LoadError(f"{file.name} is no whole safetensors file ({why}); fetch it again")
