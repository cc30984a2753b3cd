"""The pool's models by name, and the health that is told of each name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from local_inference_service import pool_errors as errors
from local_inference_service.pool_entry import Entry, LoadPlan
from marsys.v1 import ModelState

_MOST_FAILED = 64  # failed loads that are remembered
_MOST_NAMES = 32  # spellings of one directory

HealthReport = Callable[[str, bool | None], None]
"""Told a model's name, and whether it answers; None: it isn't there any more."""


class PoolNames:
    """Which model answers to which name.

    A model has the name by which it was asked for first. Another spelling of its directory becomes
    a further name of it; no other name leads to it.

    Attributes:
        on_health: told of each name.
    """

    def __init__(self) -> None:
        self.on_health: HealthReport | None = None
        self._entries: dict[str, Entry] = {}  # by their own names
        self._names: dict[str, Entry] = {}  # by all their names

    def __iter__(self) -> Iterator[Entry]:
        """All models, in the order in which they came; may be changed meanwhile."""
        return iter(list(self._entries.values()))

    def __contains__(self, entry: object) -> bool:
        return isinstance(entry, Entry) and self._entries.get(entry.name) is entry

    def get(self, name: str, field_name: str) -> Entry:
        """The model of a name.

        Args:
            name: the name.
            field_name: the request's field that has it.

        Raises:
            ServiceError: there is none.
        """
        entry = self._names.get(name)
        if entry is None:
            raise errors.not_known(name, field_name)
        return entry

    def find(self, plan: LoadPlan) -> Entry | None:
        """The model that a plan means: of that name, or loaded from the same directory.

        Raises:
            ServiceError: the name's directory is another one by now.
        """
        entry = self._names.get(plan.name)
        if entry is not None:
            elsewhere = plan.is_path and entry.plan.source != plan.source
            if elsewhere and entry.state != ModelState.MODEL_STATE_FAILED:
                raise errors.other_source(entry, plan)
            return entry
        for other in self._entries.values():
            alike = plan.is_path and other.plan.is_path and other.plan.source == plan.source
            if alike and other.state != ModelState.MODEL_STATE_FAILED:
                return other
        return None

    def add(self, entry: Entry) -> None:
        """Put a model in, in the place of the one that had its name."""
        before = self._names.get(entry.name)
        if before is not None:
            self.remove(before)
        self._entries[entry.name] = entry
        self.add_name(entry, entry.name)

    def add_name(self, entry: Entry, name: str) -> None:
        """Let a model answer to a further name, unless it has too many."""
        if entry in self and name not in entry.names and len(entry.names) < _MOST_NAMES:
            entry.names.add(name)
            self._names[name] = entry
            self.publish(entry)

    def remove(self, entry: Entry) -> None:
        """Forget a model."""
        if entry in self:
            del self._entries[entry.name]
        for name in entry.names:
            del self._names[name]
            self._report(name, None)
        entry.names.clear()
        entry.need = None
        entry.settled.set()

    def forget_old_failures(self) -> None:
        """Forget the oldest failed loads, if there are many."""
        failed = [e for e in self if e.state == ModelState.MODEL_STATE_FAILED]
        for entry in failed[: max(len(failed) - _MOST_FAILED, 0)]:
            self.remove(entry)

    def publish(self, entry: Entry) -> None:
        """Tell of all its names whether a model answers."""
        for name in entry.names:
            self._report(name, entry.shown_state == ModelState.MODEL_STATE_READY)

    def _report(self, name: str, answers: bool | None) -> None:
        if self.on_health is not None:
            self.on_health(name, answers)
