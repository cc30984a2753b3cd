"""How much memory the machine's devices have, and how much of it is free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

GIB = 1024**3
CPU = "cpu"

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # what cgroup v1 says where there is no limit is above this
# Files of a memory group: limit, use, and statistics with what can be dropped at once.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def accelerator() -> str | None:
    """Kind of the machine's accelerator, such as "cuda" or "mps"; None where there is none."""
    if not torch.accelerator.is_available():
        return None
    device = torch.accelerator.current_accelerator()
    return None if device is None else str(device.type)


def devices() -> list[str]:
    """The devices that a model can be put on, such as ["cpu", "cuda:0", "cuda:1"]."""
    kind = accelerator()
    if kind is None:
        return [CPU]
    return [CPU, *(f"{kind}:{index}" for index in range(torch.accelerator.device_count()))]


def kind_of(device_map: str) -> str:
    """Whose memory a model takes that is put there: "cpu" or the accelerator's kind."""
    if device_map.partition(":")[0] == CPU:
        return CPU
    return accelerator() or CPU


def total_memory(kind: str) -> int:
    """Bytes that the devices of a kind have in all; the process's own limit is respected."""
    if kind == CPU:
        return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _groups())])
    return sum(total for _, total in _accelerators(kind))


def free_memory(kind: str) -> int:
    """Bytes that are free on the devices of a kind."""
    if kind == CPU:
        left = [max(limit - used, 0) for limit, used in _groups()]
        return min([int(psutil.virtual_memory().available), *left])
    return sum(free for free, _ in _accelerators(kind))


def in_gib(nbytes: int) -> str:
    """Bytes for people, such as "1.25 GiB"."""
    return f"{nbytes / GIB:.2f} GiB"


def _accelerators(kind: str) -> Iterator[tuple[int, int]]:
    """Free and total bytes of each accelerator."""
    if kind == "cuda":
        for index in range(torch.accelerator.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            yield int(free), int(total)
    elif kind == "mps":  # it shares the machine's memory
        total = int(torch.mps.recommended_max_memory())
        yield max(total - int(torch.mps.driver_allocated_memory()), 0), total
    else:
        memory = psutil.virtual_memory()
        yield int(memory.available), int(memory.total)


def _groups(
    root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")
) -> Iterator[tuple[int, int]]:
    """Limit and use of the memory groups that this process belongs to."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from _limits(root, path, _V2)
        elif "memory" in controllers.split(","):
            yield from _limits(root / "memory", path, _V1)


def _limits(top: Path, path: str, names: tuple[str, str, str]) -> Iterator[tuple[int, int]]:
    """Those of a group and of the groups above it."""
    group = top / path.lstrip("/")
    for directory in (group, *group.parents):
        if not directory.is_relative_to(top):
            return
        limit, used = _number(directory / names[0]), _number(directory / names[1])
        if limit is not None and used is not None and limit < _UNLIMITED:
            yield limit, max(used - _statistic(directory / "memory.stat", names[2]), 0)


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _statistic(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(values.get(name, 0))
