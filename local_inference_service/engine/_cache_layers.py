"""Layers of a cache that holds a row for each of many requests.

Keys and values lie in storage with room for further columns, of which a window is in use; all
layers share the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import cache_utils
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)


class NotBatchable(Exception):
    """The model keeps something in its cache that can't be put side by side."""


@dataclass(slots=True)
class Window:
    """Which part of the storage is in use: `rows` from the first on, columns [start, end)."""

    rows: int = 0
    start: int = 0
    end: int = 0
    slots: int = 0
    columns: int = 0

    @property
    def width(self) -> int:
        return self.end - self.start


class KeysAndValues:
    """Storage of one attention layer: two tensors of shape (slots, heads, columns, head size)."""

    def __init__(self, window: Window, like: DynamicLayer) -> None:
        self._window = window
        self._shapes = [_row_shape(like.keys), _row_shape(like.values)]
        self._stores = [like.keys.new_empty(0), like.values.new_empty(0)]

    @property
    def token_bytes(self) -> int:
        sizes = (store.element_size() for store in self._stores)
        return sum(
            heads * head * size for (heads, head), size in zip(self._shapes, sizes, strict=True)
        )

    def move(self, slots: int, columns: int, start: int) -> None:
        """Into new storage, the window's columns from `start` on."""
        window = self._window
        rows, width = window.rows, window.width
        for index, (heads, head) in enumerate(self._shapes):
            old = self._stores[index]
            # Padding is read, if masked, so it must be finite.
            new = old.new_zeros(slots, heads, columns, head)
            if rows:
                new[:rows, :, start : start + width] = old[:rows, :, window.start : window.end]
            self._stores[index] = new

    def fill(self, row: int, layer: DynamicLayer) -> None:
        for store, tensor in zip(self._stores, (layer.keys, layer.values), strict=True):
            store[row] = 0
            size = tensor.shape[-2]  # of sliding layers, less than the row's length
            store[row, :, self._window.end - size : self._window.end] = tensor[0]

    def row(self, row: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of a row's keys and values, of shape (1, heads, length, head size)."""
        end = self._window.end
        keys, values = (store[row : row + 1, :, end - length : end] for store in self._stores)
        return keys.clone(), values.clone()

    def copy(self, source: int, target: int) -> None:
        for store in self._stores:
            store[target] = store[source]

    def append(self, *states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a pass's keys and values behind the window; they and what is before them."""
        window = self._window
        end = window.end + states[0].shape[-2]
        for store, new in zip(self._stores, states, strict=True):
            store[: window.rows, :, window.end : end] = new
        keys, values = (store[: window.rows, :, window.start : end] for store in self._stores)
        return keys, values


class AttentionRows(CacheLayerMixin):  # type: ignore[misc]
    """One attention layer. Sliding windows are left to the mask."""

    is_sliding = False

    def __init__(self, window: Window, like: DynamicLayer) -> None:
        super().__init__()
        self.storage = KeysAndValues(window, like)
        self._window = window
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        pass

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.storage.append(key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window.width + query_length, 0

    def get_seq_length(self) -> int:
        return self._window.width

    def get_max_length(self) -> int:
        return -1


class States:
    """What a linear-attention layer keeps: tensors of shape (rows, ...), one row a request."""

    def __init__(self, layer: LinearAttentionLayer) -> None:
        self._layer = layer

    def tables(self) -> list[tuple[dict[int, Any], int]]:
        layer = self._layer
        return [
            (table, key)
            for table in (layer.conv_states, layer.recurrent_states)
            for key in table
            if table[key] is not None
        ]

    def add(self, other: LinearAttentionLayer) -> None:
        """Append the one row of another layer."""
        layer = self._layer
        for name in ("conv_states", "recurrent_states"):
            mine, its = getattr(layer, name), getattr(other, name)
            for key, tensor in its.items():
                if tensor is not None:
                    mine[key] = tensor if mine[key] is None else torch.cat([mine[key], tensor])
        for name in (
            "is_conv_states_initialized",
            "is_recurrent_states_initialized",
            "has_previous_state",
            "conv_kernel_size",
        ):
            getattr(layer, name).update(getattr(other, name))
        layer.device, layer.dtype = other.device, other.dtype

    def drop(self, row: int, last: int) -> None:
        for table, key in self.tables():
            tensor = table[key]
            tensor[row] = tensor[last]
            table[key] = tensor[:last].clone() if last else None


class StateRows(LinearAttentionLayer):  # type: ignore[misc]
    """One linear-attention layer."""

    def __init__(self, like: LinearAttentionLayer) -> None:
        super().__init__(number_of_states=like.number_of_states)
        self.states = States(self)


class HybridRows(LinearAttentionAndFullAttentionLayer):  # type: ignore[misc]
    """One layer with both kinds of attention."""

    def __init__(self, window: Window, like: LinearAttentionAndFullAttentionLayer) -> None:
        super().__init__(number_of_states=like.number_of_states)
        self.storage = KeysAndValues(window, like)
        self.states = States(self)
        self._window = window
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.storage.append(key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window.width + query_length, 0

    def get_seq_length(self) -> int:
        return self._window.width


# Exact types: a subclass may keep more than is known here.
_ATTENTION = (DynamicLayer, DynamicSlidingWindowLayer)
_DUMMY = getattr(cache_utils, "DummyLayer", None)  # from transformers 5.20 on


def rows_of(layer: Any, window: Window) -> Any:
    """A layer that holds rows of what a layer of one request holds.

    Raises:
        NotBatchable: layers of its kind aren't known here.
    """
    kind = type(layer)
    if kind in _ATTENTION and layer.keys is not None:
        return AttentionRows(window, layer)
    if kind is LinearAttentionLayer:
        return StateRows(layer)
    if kind is LinearAttentionAndFullAttentionLayer and layer.keys is not None:
        return HybridRows(window, layer)
    if kind is _DUMMY:
        return layer
    raise NotBatchable(f"cache layers of type {kind.__name__}")


def _row_shape(tensor: torch.Tensor) -> tuple[int, int]:
    return tensor.shape[1], tensor.shape[3]
