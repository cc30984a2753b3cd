"""The keys, values and states of the requests that decode together, one row each.

Rows end at the same column, so that one forward pass adds a token to each of them; shorter ones are
padded on the left, as in a padded batch of `model.generate`. A row joins with what a cache of its
own holds, and leaves by being overwritten with the last row: the others aren't moved.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from local_inference_service.engine._cache_layers import Window, rows_of
from local_inference_service.engine._prefixes import States, can_be_kept

SLACK = 128
"""Columns that are made ready beyond those needed. Each pass reads all columns, so copying them
once in so many passes costs next to nothing."""


class RowsCache(Cache):  # type: ignore[misc]
    """The cache of a batch.

    Args:
        like: a cache of one request, as the model fills it.
        device: where the model takes its attention mask.

    Attributes:
        lengths: tokens of each row.

    Raises:
        NotBatchable: `like` has layers of a kind that isn't known here.
    """

    def __init__(self, like: DynamicCache, device: torch.device) -> None:
        self.lengths: list[int] = []
        self._window = Window()
        super().__init__(layers=[rows_of(layer, self._window) for layer in like.layers])
        self._stores = [layer.storage for layer in self.layers if hasattr(layer, "storage")]
        self._states = [layer.states for layer in self.layers if hasattr(layer, "states")]
        self._can_be_kept = can_be_kept(like)
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=device)
        self.token_bytes: int = sum(store.token_bytes for store in self._stores)

    @property
    def nbytes(self) -> int:
        """Memory of the keys and values, used or ready."""
        return self._window.slots * self._window.columns * self.token_bytes

    def nbytes_after_join(self, length: int) -> int:
        """The same once a row of a length has joined."""
        slots, columns, _ = self._plan_join(length)
        return slots * columns * self.token_bytes

    def nbytes_after_pass(self) -> int:
        """The same after the next pass."""
        window = self._window
        if window.end < window.columns:
            return self.nbytes
        return window.rows * (window.width + SLACK) * self.token_bytes

    def join(self, cache: DynamicCache, length: int) -> None:
        """Add a row behind the others, of what a request's own cache holds."""
        window = self._window
        slots, columns, before = self._plan_join(length)
        if (slots, columns) != (window.slots, window.columns) or before > window.start:
            self._move(slots, columns, before)
        window.start = min(window.start, window.end - length)
        row = window.rows
        window.rows += 1
        self.lengths.append(length)
        self._mask[row] = 0
        self._mask[row, window.end - length : window.end] = 1
        for mine, its in zip(self.layers, cache.layers, strict=True):
            if hasattr(mine, "storage"):
                mine.storage.fill(row, its)
            if hasattr(mine, "states"):
                mine.states.add(its)

    def states_of(self, row: int) -> States | None:
        """Copies of what a row has read; None where that can't serve another request."""
        if not self._can_be_kept:
            return None
        return [store.row(row, self.lengths[row]) for store in self._stores]

    def drop(self, row: int) -> None:
        """Remove a row; the last one takes its place."""
        window = self._window
        last = window.rows - 1
        for states in self._states:
            states.drop(row, last)
        if row != last:
            for store in self._stores:
                store.copy(last, row)
            self._mask[row] = self._mask[last]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        window.rows = last
        window.start = window.end - max(self.lengths, default=0)
        if not last:
            self._move(0, 0, 0)

    def before_pass(self) -> torch.Tensor | None:
        """Make room for a token in each row. Returns the attention mask; None: no row is padded."""
        window = self._window
        if window.end == window.columns:
            self._move(window.rows, window.width + SLACK, 0)
        self._mask[: window.rows, window.end] = 1
        if min(self.lengths) == window.width:
            return None
        return self._mask[: window.rows, window.start : window.end + 1]

    def after_pass(self) -> None:
        """Each row has one more token."""
        self._window.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def _plan_join(self, length: int) -> tuple[int, int, int]:
        """Slots and columns that a row of a length needs, and columns to add on the left."""
        window = self._window
        before = max(length - window.width, 0)
        fits = window.rows < window.slots and window.end < window.columns
        if fits and before <= window.start:
            return window.slots, window.columns, before
        return window.rows + 1, before + window.width + SLACK, before

    def _move(self, slots: int, columns: int, before: int) -> None:
        """Into new storage, with `before` free columns on the left."""
        window = self._window
        for store in self._stores:
            store.move(slots, columns, before)
        mask = self._mask.new_zeros(slots, columns)
        end = before + window.width
        mask[: window.rows, before:end] = self._mask[: window.rows, window.start : window.end]
        self._mask = mask
        window.slots, window.columns = slots, columns
        window.start, window.end = before, end
