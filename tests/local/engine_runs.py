"""Runs jobs on an engine and tells what tokens each of them got, beside plain `model.generate`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from local_inference_service.engine import Engine, Job
from local_inference_service.output import Output
from local_inference_service.sampling import SamplingParams
from local_inference_service.text_stream import TextStream

GREEDY = SamplingParams(temperature=0)


class _Tokens(TextStream):
    """Keeps the ids instead of making text of them."""

    def __init__(self) -> None:
        super().__init__(lambda ids: "")
        self.ids: list[int] = []

    def push(self, token: int) -> str:
        self.ids.append(token)
        return "x"

    def end(self) -> str:
        return ""


@dataclass(eq=False)
class Run:
    """A job that was submitted.

    Attributes:
        job: the job.
        outputs: what was delivered.
        ended: set once it has ended.
        on_output: called with each output.
    """

    job: Job
    outputs: list[Output] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    on_output: Callable[[Output], None] | None = None

    @property
    def tokens(self) -> list[int]:
        ids: list[int] = self.job.text.ids  # type: ignore[attr-defined]
        return ids

    @property
    def error(self) -> BaseException | None:
        return self.outputs[-1].error if self.outputs else None

    def wait(self) -> list[int]:
        """The tokens, once it has ended without an error."""
        assert self.ended.wait(120), "the job doesn't end"
        assert self.error is None, self.error
        return self.tokens


def start(
    engine: Engine,
    prompt: list[int],
    max_tokens: int,
    params: SamplingParams = GREEDY,
    *,
    on_output: Callable[[Output], None] | None = None,
    **options: Any,
) -> Run:
    """Submit a job."""

    def deliver(output: Output) -> None:
        run.outputs.append(output)
        if run.on_output is not None:
            run.on_output(output)
        if output.finish is not None or output.error is not None:
            run.ended.set()

    run = Run(Job(prompt, max_tokens, params, _Tokens(), deliver, **options), on_output=on_output)
    engine.submit(run.job)
    return run


def settle(engine: Engine) -> None:
    """Wait until nothing runs any more."""
    for _ in range(2000):
        if not engine.jobs:
            return
        time.sleep(0.005)
    raise AssertionError(f"{engine.jobs} jobs don't leave")


def generate_alone(model: Any, prompt: list[int], max_tokens: int, **inputs: Any) -> list[int]:
    """What `model.generate` gives for a prompt, greedily and to the last token."""
    with torch.inference_mode():
        ids = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            repetition_penalty=1.0,
            max_new_tokens=max_tokens,
            min_new_tokens=max_tokens,
            eos_token_id=None,
            pad_token_id=0,
            **inputs,
        )
    tokens: list[int] = ids[0, len(prompt) :].tolist()
    return tokens


def is_tie(model: Any, prompt: list[int], right: list[int], given: list[int]) -> bool:
    """Whether two answers part at a token whose logits differ by rounding alone."""
    at = next(i for i, (a, b) in enumerate(zip(right, given, strict=True)) if a != b)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + right[:at]])).logits[0, -1].double()
    gap = (logits[right[at]] - logits[given[at]]).abs()
    return bool(gap <= 1e-4 * logits.abs().max())
