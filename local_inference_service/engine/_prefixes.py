"""Keys and values of ended requests, for later ones that begin with the same tokens."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

States = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one request, layer by layer, of shape (1, heads, tokens, head size)."""

_LEAST = 16  # tokens; fewer are read as fast as they are found
_MOST_ENTRIES = 128


@dataclass(slots=True)
class _Entry:
    tokens: np.ndarray[Any, np.dtype[np.int64]]
    states: States
    nbytes: int


class Prefixes:
    """What ended requests have read, the least recently used of it first to go.

    Args:
        most_bytes: most memory to use; 0 keeps nothing.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._next = 0
        self.nbytes = 0

    def put(self, tokens: list[int], states: States) -> None:
        """Keep what a request has read.

        Args:
            tokens: ids of all that it has read.
            states: their keys and values; they aren't copied.
        """
        nbytes = sum(keys.nbytes + values.nbytes for keys, values in states)
        if nbytes > self._most_bytes or len(tokens) < _LEAST:
            return
        new = np.asarray(tokens, dtype=np.int64)
        for key, entry in [*self._entries.items()]:
            shared = _shared(entry.tokens, new)
            if shared == len(new):
                self._entries.move_to_end(key)
                return
            if shared == len(entry.tokens):
                self._drop(key)
        self._entries[self._next] = _Entry(new, states, nbytes)
        self._next += 1
        self.nbytes += nbytes
        while self.nbytes > self._most_bytes or len(self._entries) > _MOST_ENTRIES:
            self.drop_oldest()

    def get(self, tokens: list[int], cache: DynamicCache) -> int:
        """Put into an empty cache what is known of a request's tokens.

        Args:
            tokens: ids of the request; the last one is always left to be read.
            cache: of the request.

        Returns:
            How many tokens are in the cache now.
        """
        if not self._entries:
            return 0
        wanted = np.asarray(tokens[:-1], dtype=np.int64)
        length, key = max((_shared(e.tokens, wanted), key) for key, e in self._entries.items())
        if length < _LEAST:
            return 0
        self._entries.move_to_end(key)
        states = self._entries[key].states
        for index, (keys, values) in enumerate(states):
            cache.update(keys[:, :, :length], values[:, :, :length], index)
        return length

    def drop_oldest(self) -> None:
        """Forget what was used least recently. There must be something."""
        self._drop(next(iter(self._entries)))

    def _drop(self, key: int) -> None:
        self.nbytes -= self._entries.pop(key).nbytes


def can_be_kept(cache: Any) -> bool:
    """Whether all that a cache holds of some tokens can serve other requests that begin so."""
    return all(type(layer) is DynamicLayer and layer.keys is not None for layer in cache.layers)


def _shared(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    """How many tokens are the same from the start."""
    size = min(len(one), len(other))
    different = np.flatnonzero(one[:size] != other[:size])
    return int(different[0]) if len(different) else size
