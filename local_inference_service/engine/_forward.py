"""Forward passes of a transformers model: a slice of a prompt, or a token of many requests."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from local_inference_service.engine._cache import RowsCache
from local_inference_service.engine._row import Row


class CannotGenerate(Exception):
    """The model's cache can't be used from outside of the model."""


class Forward:
    """Calls the model.

    Args:
        model: a transformers model that generates text.

    Raises:
        CannotGenerate: the model takes no cache.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._config = model.config.get_text_config(decoder=True)
        self._own_cache = False
        self._multimodal = [part for part in model.modules() if hasattr(part, "rope_deltas")]
        taken = inspect.signature(model.forward).parameters
        names = [name for name in ("past_key_values", "cache_params") if name in taken]
        if not names:
            raise CannotGenerate("its forward pass takes no cache")
        self._cache_name = names[0]
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._positions = "position_ids" in taken

    @property
    def device(self) -> torch.device:
        """Where ids go in and logits come out."""
        device: torch.device = self._model.device
        return device

    def use_models_own_cache(self) -> None:
        """From now on let the model make its cache: some take no other."""
        self._own_cache = True

    def new_cache(self) -> DynamicCache:
        """An empty cache for one request."""
        return DynamicCache(config=self._config)

    def whole(self, ids: list[int]) -> torch.Tensor:
        """Logits after some tokens, read at once and without a cache. Of shape (vocabulary,)."""
        result = self._model(input_ids=torch.tensor([ids], device=self.device), use_cache=False)
        logits: torch.Tensor = result.logits[0, -1]
        return logits

    def read(self, row: Row, most: int) -> torch.Tensor | None:
        """Read some of what a row has not read.

        Args:
            row: the row; its own cache grows.
            most: tokens of a slice; a prompt with images goes in whole.

        Returns:
            Logits of the next token, of shape (vocabulary,); None while there is more to read.
        """
        ids = row.unread()
        first = row.read == 0
        inputs = row.job.inputs if first else {}
        size = len(row.job.prompt) if inputs else most
        if row.cache is None and not self._own_cache:
            row.cache = self.new_cache()
        ids, more = ids[:size], len(ids) > size
        positions = None
        if inputs:
            # Only now, so that what waits takes no room on the device.
            inputs = {name: _on(self.device, value) for name, value in inputs.items()}
            self._forget_offsets()
        else:  # with images, the model finds the positions itself
            start = row.read + row.offset
            positions = torch.arange(start, start + len(ids), device=self.device).unsqueeze(0)
        logits, row.cache = self._call([ids], row.cache, positions, None, inputs)
        row.read += len(ids)
        if inputs:
            row.offset = self._offset_of_images()
        return None if more else logits[0]

    def decode(self, rows: Sequence[Row], cache: RowsCache) -> torch.Tensor:
        """Read the last token of each row, side by side. Logits of shape (rows, vocabulary)."""
        mask = cache.before_pass()
        places = [length + row.offset for row, length in zip(rows, cache.lengths, strict=True)]
        positions = torch.tensor(places, device=self.device).unsqueeze(1)
        ids = [[row.generated[-1]] for row in rows]
        logits, _ = self._call(ids, cache, positions, mask, {})
        cache.after_pass()
        for row in rows:
            row.read += 1
        return logits

    def _call(
        self,
        ids: list[list[int]],
        cache: Any,
        positions: torch.Tensor | None,
        mask: torch.Tensor | None,
        inputs: Any,
    ) -> tuple[torch.Tensor, Any]:
        arguments: dict[str, Any] = {self._cache_name: cache, **self._last_only, **inputs}
        if positions is not None and self._positions:
            arguments["position_ids"] = positions
        if mask is not None:
            arguments["attention_mask"] = mask
        result = self._model(
            input_ids=torch.tensor(ids, device=self.device), use_cache=True, **arguments
        )
        return result.logits[:, -1], getattr(result, self._cache_name)

    # Models with multimodal rotary positions leave the last call's offset on themselves.

    def _forget_offsets(self) -> None:
        for module in self._multimodal:
            module.rope_deltas = None

    def _offset_of_images(self) -> int:
        deltas = [module.rope_deltas for module in self._multimodal]
        return next((int(delta.reshape(-1)[0]) for delta in deltas if delta is not None), 0)


def _on(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
