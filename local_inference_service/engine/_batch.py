"""The requests that decode at one time: side by side where the model can, else in turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from local_inference_service.engine._cache import SLACK, RowsCache
from local_inference_service.engine._forward import Forward
from local_inference_service.engine._prefixes import States
from local_inference_service.engine._row import Row


class Batch(ABC):
    """Rows that have read their prompts and generate.

    Attributes:
        rows: the rows, in the order of the logits that `decode` gives.
        token_bytes: memory of the keys and values of a token; 0 until a row has joined.
    """

    def __init__(self, forward: Forward) -> None:
        self.rows: list[Row] = []
        self.token_bytes = 0
        self._forward = forward

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory of the keys and values."""

    @abstractmethod
    def nbytes_after_join(self, row: Row) -> int:
        """The same once a row has joined."""

    def nbytes_expected(self, others: Sequence[Row]) -> int:
        """The same once other rows have read what they have and joined."""
        rows = [*self.rows, *others]
        longest = max(len(row.job.prompt) + len(row.generated) for row in rows)
        return self.token_bytes * len(rows) * (longest + SLACK)

    @abstractmethod
    def nbytes_after_decode(self) -> int:
        """The same after the next step."""

    @abstractmethod
    def join(self, row: Row) -> None:
        """Take in a row that has read all but its last token."""

    @abstractmethod
    def leave(self, row: Row) -> None:
        """Drop a row."""

    def states_of(self, row: Row) -> States | None:
        """Copies of what a row has read; None where that can't serve another request."""
        return None

    @abstractmethod
    def decode(self) -> torch.Tensor:
        """Read the last token of each row. Logits of shape (rows, vocabulary).

        After an exception only `restart` may be called.
        """

    def restart(self) -> list[Row]:
        """Take out all rows, each to read again what it has. Returns them."""
        rows, self.rows = self.rows, []
        for row in rows:
            row.restart()
        return rows


class SideBySide(Batch):
    """One forward pass for all rows."""

    def __init__(self, forward: Forward) -> None:
        super().__init__(forward)
        self._cache: RowsCache | None = None

    @property
    def nbytes(self) -> int:
        return self._cache.nbytes if self._cache is not None else 0

    def nbytes_after_join(self, row: Row) -> int:
        cache = self._cache or RowsCache(row.cache, self._forward.device)
        return cache.nbytes_after_join(row.read)

    def nbytes_after_decode(self) -> int:
        return self._cache.nbytes_after_pass() if self._cache is not None else 0

    def join(self, row: Row) -> None:
        if self._cache is None:
            self._cache = RowsCache(row.cache, self._forward.device)
            self.token_bytes = self._cache.token_bytes
        self._cache.join(row.cache, row.read)
        self.rows.append(row)
        row.cache = None

    def leave(self, row: Row) -> None:
        assert self._cache is not None
        index = self.rows.index(row)
        self._cache.drop(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()
        if not self.rows:
            self._cache = None

    def restart(self) -> list[Row]:
        self._cache = None
        return super().restart()

    def states_of(self, row: Row) -> States | None:
        if self._cache is None or row.job.inputs:
            return None
        return self._cache.states_of(self.rows.index(row))

    def decode(self) -> torch.Tensor:
        assert self._cache is not None
        return self._forward.decode(self.rows, self._cache)


class InTurn(Batch):
    """A forward pass for each row, with a cache of its own: for models that can't be batched."""

    @property
    def nbytes(self) -> int:
        return sum(_nbytes(row) for row in self.rows)

    def nbytes_after_join(self, row: Row) -> int:
        return self.nbytes + _nbytes(row)

    def nbytes_after_decode(self) -> int:
        return self.nbytes

    def join(self, row: Row) -> None:
        self.rows.append(row)
        self.token_bytes = _nbytes(row) // row.read

    def leave(self, row: Row) -> None:
        self.rows.remove(row)
        row.cache = None

    def decode(self) -> torch.Tensor:
        logits = [self._forward.read(row, 1) for row in self.rows]
        return torch.stack([row_logits for row_logits in logits if row_logits is not None])


def _nbytes(row: Row) -> int:
    tensors = (
        tensor
        for layer in getattr(row.cache, "layers", ())
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if tensor is not None
    )
    return sum(tensor.nbytes for tensor in tensors)
