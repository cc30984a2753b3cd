"""The decoding loop of one model: many requests, side by side, a token at a time.

One thread runs the model. The active requests take turns, one forward pass each, with a key-value
cache of their own; so requests stream side by side, none sees another's state, and a cancelled one
is gone before the next pass. Prompts are read in slices, so that a long one delays others little.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from local_inference_service.output import Output
from local_inference_service.sampling import Sampler, SamplingParams
from local_inference_service.text_stream import TextStream
from marsys.v1 import FinishReason

log = logging.getLogger(__name__)

_PROMPT_SLICE = 512  # tokens


class EngineFull(Exception):
    """The queue of waiting requests is full."""


class EngineStopped(Exception):
    """The engine takes no more requests."""


@dataclass(slots=True, eq=False)
class Job:
    """A request as the engine sees it.

    Attributes:
        prompt: token ids, at least one.
        max_tokens: most tokens to generate.
        params: how to choose them.
        text: turns them into text.
        deliver: called in the engine's thread with what each step gave.
        inputs: what the model takes beside the prompt's ids in its first pass (pixel values).
        cancelled: set from anywhere; the engine then drops the job before its next pass.
    """

    prompt: list[int]
    max_tokens: int
    params: SamplingParams
    text: TextStream
    deliver: Callable[[Output], None]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    cancelled: bool = False
    _read: int = 0
    _tokens: int = 0
    _next: int = 0
    _cache: Any = None
    _sampler: Sampler | None = field(default=None)


class Engine:
    """Runs jobs on a model in a thread of its own.

    Args:
        model: a transformers causal language model.
        end_tokens: ids that end a generation.
        max_active: most requests that run side by side.
        max_queued: most requests that wait.
    """

    def __init__(
        self, model: Any, end_tokens: Sequence[int], max_active: int, max_queued: int
    ) -> None:
        self._model = model
        self._end_tokens = frozenset(end_tokens)
        self._max_active = max_active
        self._waiting: queue.Queue[Job | None] = queue.Queue()  # submit bounds it
        self._active: deque[Job] = deque()
        self._max_jobs = max_active + max_queued
        self._jobs = 0
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def jobs(self) -> int:
        """How many requests are running or waiting."""
        return self._jobs

    def submit(self, job: Job) -> None:
        """Take a job.

        Raises:
            EngineFull: too many are waiting.
            EngineStopped: the engine was closed or has failed.
        """
        with self._lock:
            if self._stopped:
                raise EngineStopped("the engine has stopped")
            if self._jobs >= self._max_jobs:
                raise EngineFull(f"{self._jobs} requests are running or waiting")
            self._jobs += 1
            self._waiting.put(job)

    def close(self) -> None:
        """Fail what is running or waiting, and end the thread."""
        with self._lock:
            self._stopped = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        error: BaseException = EngineStopped("the model was unloaded")
        try:
            while self._admit():
                self._turn()
        except BaseException as fault:
            log.exception("the decoding loop failed")
            error = fault
        with self._lock:
            self._stopped = True
        while True:
            try:
                job = self._active.popleft() if self._active else self._waiting.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                self._end(job, Output(error=error))

    def _admit(self) -> bool:
        """Let waiting jobs become active; sleep while there is nothing to do."""
        while len(self._active) < self._max_active:
            try:
                job = self._waiting.get(block=not self._active)
            except queue.Empty:
                break
            if job is None:
                return False
            self._active.append(job)
        return not self._stopped

    def _turn(self) -> None:
        """One step for each active job."""
        for _ in range(len(self._active)):
            job = self._active.popleft()
            if job.cancelled:
                self._forget(job)
                continue
            try:
                output = self._step(job)
            except Exception as error:
                output = Output(error=error, tokens=job._tokens)
            if output is not None and (output.finish is not None or output.error is not None):
                self._end(job, output)
                continue
            self._active.append(job)
            if output is not None and output.text:
                job.deliver(output)

    def _step(self, job: Job) -> Output | None:
        """One forward pass: a slice of the prompt, or the last token. None: no token came of it."""
        with torch.inference_mode():
            logits = self._pass(job)
            if logits is None:
                return None
            assert job._sampler is not None
            job._next = job._sampler.choose(logits)
        job._tokens += 1
        return self._output(job)

    def _pass(self, job: Job) -> torch.Tensor | None:
        """Logits of the last position; None while there is more of the prompt to read."""
        device = self._model.device
        if job._cache is None:
            job._cache = DynamicCache(config=self._model.config)
            job._sampler = Sampler(job.params, job.prompt, device)
        reading = job._read < len(job.prompt)
        # Images go in at once with the whole prompt.
        size = len(job.prompt) if job.inputs else _PROMPT_SLICE
        ids = job.prompt[job._read : job._read + size] if reading else [job._next]
        result = self._model(
            input_ids=torch.tensor([ids], device=device),
            past_key_values=job._cache,
            use_cache=True,
            logits_to_keep=1,
            **(job.inputs if reading else {}),
        )
        if reading:
            job._read += len(ids)
            if job._read < len(job.prompt):
                return None
        logits: torch.Tensor = result.logits[0, -1]
        return logits

    def _output(self, job: Job) -> Output:
        if job._next in self._end_tokens:
            finish, raw, text = FinishReason.FINISH_REASON_STOP, "eos", job.text.end()
        else:
            text = job.text.push(job._next)
            if job.text.stopped_by is not None:
                finish, raw = FinishReason.FINISH_REASON_STOP, "stop"
            elif job._tokens >= job.max_tokens:
                text += job.text.end()
                finish, raw = FinishReason.FINISH_REASON_LENGTH, "length"
            else:
                return Output(text=text, tokens=job._tokens)
        if job.text.stopped_by is not None:
            finish, raw = FinishReason.FINISH_REASON_STOP, "stop"
        return Output(text, job._tokens, finish, raw, job.text.stopped_by)

    def _end(self, job: Job, output: Output) -> None:
        self._forget(job)
        job.deliver(output)

    def _forget(self, job: Job) -> None:
        job._cache = None  # frees the memory at once
        with self._lock:
            self._jobs -= 1
