"""Tries whether a model gives side by side what it gives alone."""

from __future__ import annotations

import logging

import torch

from local_inference_service.engine._batch import Batch, InTurn, SideBySide
from local_inference_service.engine._forward import Forward
from local_inference_service.engine._row import Job, Row
from local_inference_service.sampling import SamplingParams
from local_inference_service.text_stream import TextStream

log = logging.getLogger(__name__)

_STEPS = 2
_LENGTHS = (3, 9, 5)
# Of the logits' norm. Rounding stays well below, padding that is seen well above.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2}
_COARSE = 1e-1


def choose_batch(forward: Forward, vocabulary: int) -> Batch:
    """How the model's requests decode: SideBySide where that gives the same, else InTurn."""
    try:
        with torch.inference_mode():
            alone = _logits(forward, InTurn(forward), vocabulary)
            same = _same(_logits(forward, SideBySide(forward), vocabulary), alone)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model's code does with a batch that it can't take
        log.info("batching was refused", exc_info=True)
        reason = f"{type(error).__name__}: {error}"
    else:
        if same:
            return SideBySide(forward)
        reason = "a padded batch gives other logits than single requests"
    log.warning("the model's requests take turns, since it can't batch: %s", reason)
    return InTurn(forward)


def _logits(forward: Forward, batch: Batch, vocabulary: int) -> torch.Tensor:
    """Logits of requests of some lengths after some steps, the longest joining last but one."""
    for number, length in enumerate(_LENGTHS):
        row = _row([(7 * place + 3 * number + 1) % vocabulary for place in range(length)])
        forward.read(row, length)
        row.generated.append((number + 1) % vocabulary)
        batch.join(row)
        if number:
            logits = _step(batch, vocabulary)
    for _ in range(_STEPS):
        logits = _step(batch, vocabulary)
    return logits


def _step(batch: Batch, vocabulary: int) -> torch.Tensor:
    logits = batch.decode()
    for number, row in enumerate(batch.rows):
        row.generated.append((len(row.generated) * 5 + number) % vocabulary)
    return logits


def _row(ids: list[int]) -> Row:
    params = SamplingParams(temperature=0)
    return Row(Job(ids, 1, params, TextStream(lambda ids: ""), lambda output: None))


def _same(together: torch.Tensor, alone: torch.Tensor) -> bool:
    tolerance = _TOLERANCE.get(alone.dtype, _COARSE)
    together, alone = together.float(), alone.float()
    error = (together - alone).norm(dim=-1) / alone.norm(dim=-1)
    return bool((error < tolerance).all())
