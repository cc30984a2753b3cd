"""Tries how a model can generate: side by side, in turn, or not at all."""

from __future__ import annotations

import logging

import torch

from local_inference_service.engine._batch import Batch, InTurn, SideBySide
from local_inference_service.engine._forward import CannotGenerate, Forward
from local_inference_service.engine._row import Job, Row
from local_inference_service.sampling import SamplingParams
from local_inference_service.text_stream import TextStream

log = logging.getLogger(__name__)

_LENGTHS = (3, 9, 5)
_STEPS = 2
# Differences, as parts of the logits' norm. In low precision rounding alone may send a token to
# other experts of a mixture, so that only what is plainly wrong counts there.
_WRONG = 0.5
_ROUNDING = {torch.float32: 1e-3}
_COARSE_ROUNDING = 0.25


def choose_batch(forward: Forward, vocabulary: int) -> Batch:
    """How the model's requests decode: SideBySide where that gives the same, else InTurn.

    Raises:
        CannotGenerate: not even one request at a time gives what the model tells of all its tokens.
    """
    with torch.inference_mode():
        whole = _logits_of_all(forward, vocabulary)
        rounding = _ROUNDING.get(whole.dtype, _COARSE_ROUNDING)
        reason = _difference(forward, InTurn(forward), whole, _WRONG)
        if reason:
            forward.use_models_own_cache()
            if _difference(forward, InTurn(forward), whole, _WRONG):
                raise CannotGenerate(reason)
            reason = "it takes a cache of its own only"
        else:
            reason = _difference(forward, SideBySide(forward), whole, rounding)
    if not reason:
        return SideBySide(forward)
    log.warning("the model's requests take turns, since it can't batch: %s", reason)
    return InTurn(forward)


def _difference(forward: Forward, batch: Batch, whole: torch.Tensor, most: float) -> str:
    """Why a batch doesn't give the logits that it should; empty where it does."""
    try:
        logits = _logits_of_steps(forward, batch, whole.shape[-1])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model's code does with a cache that it can't take
        log.debug("the model refused", exc_info=True)
        return f"{type(error).__name__}: {error}"
    right = whole.float()
    errors = (logits.float() - right).norm(dim=-1) / right.norm(dim=-1)
    return "" if bool((errors < most).all()) else "the logits aren't those of a whole pass"


def _logits_of_all(forward: Forward, vocabulary: int) -> torch.Tensor:
    """Logits after all tokens of each request, each read at once."""
    texts = [
        _prompt(number, vocabulary) + _answer(number, vocabulary) for number in range(len(_LENGTHS))
    ]
    return torch.stack([forward.whole(ids) for ids in texts])


def _logits_of_steps(forward: Forward, batch: Batch, vocabulary: int) -> torch.Tensor:
    """The same where the prompts are read first, and then token after token."""
    rows = [_row(_prompt(number, vocabulary)) for number in range(len(_LENGTHS))]
    for row in rows:
        forward.read(row, len(row.job.prompt))
    for number, row in enumerate(rows):
        row.generated.append(_answer(number, vocabulary)[0])
        batch.join(row)
    for step in range(1, _STEPS + 1):
        logits = batch.decode()
        for number, row in enumerate(rows):
            row.generated.append(_answer(number, vocabulary)[min(step, _STEPS - 1)])
    return logits


def _prompt(number: int, vocabulary: int) -> list[int]:
    return [(7 * place + 3 * number + 1) % vocabulary for place in range(_LENGTHS[number])]


def _answer(number: int, vocabulary: int) -> list[int]:
    return [(5 * place + number + 2) % vocabulary for place in range(_STEPS)]


def _row(ids: list[int]) -> Row:
    params = SamplingParams(temperature=0)
    return Row(Job(ids, 1, params, TextStream(lambda ids: ""), lambda output: None))
