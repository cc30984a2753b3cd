"""Whether there is room for one more model, and which others must go to make it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_inference_service.memory import CPU, accelerator, free_memory, in_gib, total_memory
from local_inference_service.memory_need import MemoryNeed
from local_inference_service.pool_entry import Entry
from marsys.v1 import ErrorReason
from serving.errors import ServiceError, service_error

# The rest is for the process itself and, of the machine's memory, for others.
_SHARE_OF_MACHINE = 0.8
_SHARE_OF_ACCELERATOR = 0.95


@dataclass(frozen=True)
class Limits:
    """What the operator lets the models take together.

    Attributes:
        memory_budget: bytes on the accelerator, or where there is none in the machine's memory.
            None: 80 % of the machine's, 95 % of the accelerator's.
        max_models: most models that are loaded at a time; 0: no limit.
        evict_idle: whether unused models are dropped to make room, the least recently used first.
        idle_unload: seconds after which an unused model is dropped; 0: never.
    """

    memory_budget: int | None = None
    max_models: int = 0
    evict_idle: bool = False
    idle_unload: float = 0

    def budget(self, kind: str) -> int:
        """Bytes that the models may take on the devices of a kind."""
        main = accelerator() or CPU
        if self.memory_budget is not None and kind == main:
            return self.memory_budget
        share = _SHARE_OF_MACHINE if kind == CPU else _SHARE_OF_ACCELERATOR
        return int(total_memory(kind) * share)


def plan_room(
    limits: Limits,
    need: MemoryNeed,
    name: str,
    others: Sequence[Entry],
) -> list[Entry]:
    """The models to drop so that another fits; none if it fits as it is.

    Args:
        limits: what the operator allows.
        need: memory of the model to load.
        name: its name, for the error.
        others: the models that are there.

    Raises:
        ServiceError: it doesn't fit, even if all that may go does.
    """
    held = [entry for entry in others if entry.need is not None]
    idle = sorted((e for e in held if e.idle), key=lambda entry: entry.last_used)
    candidates = idle if limits.evict_idle else []
    victims: list[Entry] = []
    while True:
        problem = _problem(limits, need, name, held, victims)
        if problem is None:
            return _needed(limits, need, name, held, victims)
        rest = [entry for entry in candidates if entry not in victims]
        if not rest:
            raise problem
        victims.append(rest[0])


def _needed(
    limits: Limits,
    need: MemoryNeed,
    name: str,
    held: Sequence[Entry],
    victims: Sequence[Entry],
) -> list[Entry]:
    """The victims without those whose going helps nothing, as on another device."""
    kept = list(victims)
    for entry in victims:
        fewer = [other for other in kept if other is not entry]
        if _problem(limits, need, name, held, fewer) is None:
            kept = fewer
    return kept


def _problem(
    limits: Limits,
    need: MemoryNeed,
    name: str,
    held: Sequence[Entry],
    victims: Sequence[Entry],
) -> ServiceError | None:
    """Why a model doesn't fit beside what stays; None if it does."""
    stay = [entry for entry in held if entry not in victims]
    if limits.max_models and len(stay) >= limits.max_models:
        names = ", ".join(sorted(entry.name for entry in stay))
        return service_error(
            ErrorReason.ERROR_REASON_CONFLICT,
            f"{name} can't be loaded: max_models is {limits.max_models}, and loaded are {names}",
            field="model",
            model=name,
            action="Unload one of them first, or raise max_models.",
        )
    here = [entry for entry in stay if entry.need is not None and entry.need.kind == need.kind]
    budget = limits.budget(need.kind)
    within_budget = budget - sum(entry.need.total for entry in here if entry.need is not None)
    if need.total > within_budget:
        return _too_large(name, need, within_budget, f"the budget of {in_gib(budget)}", here)
    gone = [e.need for e in victims if e.need is not None and e.need.kind == need.kind]
    freed = sum(n.total if n.cache_allocated else n.weights for n in gone)
    promised = sum(
        entry.need.cache
        for entry in here
        if entry.need is not None and not entry.need.cache_allocated
    )
    within_device = free_memory(need.kind) + freed - promised
    if need.total > within_device:
        return _too_large(name, need, within_device, f"the memory of {need.kind}", here)
    return None


def _too_large(
    name: str, need: MemoryNeed, free: int, where: str, here: Sequence[Entry]
) -> ServiceError:
    text = f"{name} needs {need}, and {in_gib(max(free, 0))} are free of {where}"
    taken = [f"{entry.name} takes {in_gib(entry.need.total)}" for entry in here if entry.need]
    if taken:
        text += f": {', '.join(sorted(taken))}"
    return service_error(
        ErrorReason.ERROR_REASON_OUT_OF_MEMORY,
        text,
        field="model",
        model=name,
        action="Unload another model, choose a smaller type of the weights or a shorter "
        "max_model_len, or let the operator raise memory_budget.",
    )
