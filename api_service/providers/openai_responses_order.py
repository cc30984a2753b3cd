"""OpenAI Responses: what is told of several items at once, brought into the order of the items."""

from __future__ import annotations

from collections.abc import Callable


class ItemOrder:
    """Lets what is told of an item wait while an earlier one may still begin a part.

    Parts are numbered as they begin. So a stream gives the same message as the whole answer, and
    items whose parts have all begun may grow side by side.

    Args:
        settled: whether all parts that an item will have are begun; true of unknown items.
    """

    def __init__(self, settled: Callable[[int], bool]) -> None:
        self._settled = settled
        self._unsettled: int | None = None
        self._waiting: dict[int, list[Callable[[], object]]] = {}

    def when_due(self, index: int, act: Callable[[], object]) -> None:
        """Do what is told of an item, now or when the items before it are settled."""
        if self._unsettled is not None and index > self._unsettled:
            self._waiting.setdefault(index, []).append(act)
            return
        self._do(index, act)
        while self._waiting and self._unsettled is None:
            due = min(self._waiting)
            for waiting in self._waiting.pop(due):
                self._do(due, waiting)

    def end(self) -> None:
        """Nothing more is told: do what still waits."""
        self._unsettled = None
        for index in sorted(self._waiting):
            for act in self._waiting.pop(index):
                act()

    def _do(self, index: int, act: Callable[[], object]) -> None:
        act()
        if self._unsettled is None and not self._settled(index):
            self._unsettled = index
        elif self._unsettled == index and self._settled(index):
            self._unsettled = None
