"""How a load tells of its progress and of its failure."""

from __future__ import annotations

from typing import Protocol

from marsys.v1 import LoadStage


class Progress(Protocol):
    """Told of each step of a load, from the thread that loads."""

    def __call__(
        self, stage: LoadStage.ValueType, completed: int | None, total: int | None, /
    ) -> None:
        """A step was made.

        Args:
            stage: what is being done.
            completed: bytes done in this stage; None where unknown.
            total: bytes of this stage; None where unknown.
        """
        ...


def quiet(stage: LoadStage.ValueType, completed: int | None, total: int | None, /) -> None:
    """Tells nobody."""


class LoadError(Exception):
    """A model can't be loaded. The text says why, for the person who asked for it."""


class OutOfMemory(LoadError):
    """There is not enough memory for the model."""
