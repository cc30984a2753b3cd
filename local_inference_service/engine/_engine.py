"""The decoding loop of one model: which requests read, which generate, and within what memory.

One thread runs the model. Each turn of its loop reads a slice of the prompts that wait and then
makes one step of all requests that generate. So requests join and leave at any step, a long prompt
delays the others by one slice at a time, and a cancelled request is gone before the next pass.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any

import torch

from local_inference_service.engine._batch import Batch, SideBySide
from local_inference_service.engine._forward import Forward
from local_inference_service.engine._prefixes import Prefixes
from local_inference_service.engine._probe import choose_batch
from local_inference_service.engine._row import Job, Row
from local_inference_service.output import Output
from local_inference_service.sampling import Sampler, choose
from marsys.v1 import FinishReason

log = logging.getLogger(__name__)

_PROMPT_SLICE = 512  # tokens read between two steps


class EngineFull(Exception):
    """The queue of waiting requests is full."""


class EngineStopped(Exception):
    """The engine takes no more requests."""


class Engine:
    """Runs jobs on a model in a thread of its own.

    Args:
        model: a transformers model that generates text.
        end_tokens: ids that end a generation.
        max_active: most requests that run at a time.
        max_queued: most requests that wait.
        kv_cache_bytes: most memory for the keys and values of all requests. Where it is used up,
            the youngest request waits and later reads again what it had. None: without limit.
        prefix_cache_bytes: most memory for the keys and values of ended requests, for later ones
            that begin with the same tokens; 0 keeps none. They make way where memory is short.

    Raises:
        CannotGenerate: the model's cache can't be used from outside of the model.
    """

    def __init__(
        self,
        model: Any,
        end_tokens: Sequence[int],
        max_active: int,
        max_queued: int,
        kv_cache_bytes: int | None = None,
        prefix_cache_bytes: int = 0,
    ) -> None:
        self._forward = Forward(model)
        self._end_tokens = frozenset(end_tokens)
        self._max_active = max_active
        self._max_queued = max_queued
        self._budget = kv_cache_bytes
        self._keeps = prefix_cache_bytes > 0
        self._prefixes = Prefixes(prefix_cache_bytes)
        vocabulary = int(model.config.get_text_config(decoder=True).vocab_size)
        self._batch: Batch = choose_batch(self._forward, vocabulary)
        self._reading: deque[Row] = deque()
        self._waiting: deque[Row] = deque()
        self._jobs = 0
        self._numbers = count()
        self._stopped = False
        self._changed = threading.Condition()
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
        with self._changed:
            if self._stopped:
                raise EngineStopped("the engine has stopped")
            if self._jobs >= self._max_active + self._max_queued:
                raise EngineFull(f"{self._jobs} requests are running or waiting")
            self._jobs += 1
            self._waiting.append(Row(job, next(self._numbers)))
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Drop a job before the next pass; no more is delivered. May be called at any time."""
        job.cancelled = True
        with self._changed:
            for row in self._waiting:
                if row.job is job:
                    self._waiting.remove(row)
                    self._jobs -= 1
                    break

    def close(self) -> None:
        """Fail what is running or waiting, and end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException = EngineStopped("the model was unloaded")
        try:
            while self._admit():
                with torch.inference_mode():
                    self._read()
                    self._decode()
        except BaseException as fault:
            log.exception("the decoding loop failed")
            error = fault
        with self._changed:
            self._stopped = True
            rows = [*self._batch.rows, *self._reading, *self._waiting]
            self._waiting.clear()
        self._reading.clear()
        self._batch = SideBySide(self._forward)  # frees the memory
        self._prefixes = Prefixes(0)
        for row in rows:
            self._end(row, Output(error=error))

    def _admit(self) -> bool:
        """Let waiting requests begin; sleep while there is nothing to do. False: stop."""
        with self._changed:
            while not (self._stopped or self._waiting or self._reading or self._batch.rows):
                self._changed.wait()
            while self._waiting and self._has_place(self._waiting[0]):
                row = self._waiting.popleft()
                row.sampler = row.sampler or Sampler(
                    row.job.params,
                    row.job.prompt,
                    self._forward.device,
                    row.job.processors,
                    row.job.rules,
                )
                self._reading.append(row)
            return not self._stopped

    def _has_place(self, row: Row) -> bool:
        running = len(self._batch.rows) + len(self._reading)
        if not running:
            return True
        expected = self._batch.nbytes_expected([*self._reading, row])
        return running < self._max_active and self._fits(expected)

    def _fits(self, nbytes: int) -> bool:
        """Whether the batch may take so much memory; what is kept of ended requests makes way."""
        if self._budget is None:
            return True
        if nbytes > self._budget:
            return False
        while nbytes + self._prefixes.nbytes > self._budget:
            self._prefixes.drop_oldest()
        return True

    def _read(self) -> None:
        """Read a slice of the prompts."""
        left = _PROMPT_SLICE
        while self._reading and left > 0:
            row = self._reading.popleft()
            if row.job.cancelled:
                self._forget(row)
                continue
            try:
                self._reuse(row)
                before = row.read
                logits = self._forward.read(row, left)
                if logits is None:
                    self._reading.append(row)  # others come in between
                else:
                    self._join(row, logits)
                left -= row.read - before
            except Exception as error:
                self._end(row, Output(error=error, tokens=len(row.generated)))

    def _reuse(self, row: Row) -> None:
        """Begin with what an earlier request has read of the same tokens."""
        if row.read or row.job.inputs:
            return
        cache = self._forward.new_cache()
        row.read = self._prefixes.get(row.tokens(), cache)
        row.cache = cache if row.read else None
        if not row.generated:
            row.reused = row.read

    def _join(self, row: Row, logits: torch.Tensor) -> None:
        """Choose the first token after a prompt, and let the row generate."""
        if not self._fits(self._batch.nbytes_after_join(row)):
            self._put_off(row)
            return
        try:
            self._batch.join(row)
        except Exception:  # out of memory amid a move to larger storage: what was there is lost
            self._wait_again(self._batch.restart())
            raise
        self._choose([row], logits.unsqueeze(0))

    def _decode(self) -> None:
        """One step of each row that generates."""
        for row in [row for row in self._batch.rows if row.job.cancelled]:
            self._keep(row)
            self._batch.leave(row)
            self._forget(row)
        while self._batch.rows and not self._fits(self._batch.nbytes_after_decode()):
            self._put_off(max(self._batch.rows, key=_number))
        if not self._batch.rows:
            return
        try:
            logits = self._batch.decode()
        except Exception as error:
            self._recover(error)
        else:
            self._choose(list(self._batch.rows), logits)

    def _put_off(self, row: Row) -> None:
        """For want of memory a row waits, to read again what it had; the only one fails."""
        if row in self._batch.rows:
            self._batch.leave(row)
        if not self._batch.rows:
            error = MemoryError("its keys and values take more than the memory set aside for them")
            self._end(row, Output(error=error, tokens=len(row.generated)))
            return
        row.restart()
        self._wait_again([row])

    def _wait_again(self, rows: list[Row]) -> None:
        """Rows are to read again what they had, before any that came later."""
        with self._changed:
            self._waiting.extendleft(sorted(rows, key=_number, reverse=True))

    def _recover(self, error: Exception) -> None:
        """A step failed. For want of memory, fewer rows try again; else all of them fail."""
        used = self._batch.nbytes
        rows = self._batch.restart()
        if is_out_of_memory(error) and len(rows) > 1:
            log.warning("out of memory with %d requests at a time; now fewer run", len(rows))
            self._budget = used * (len(rows) - 1) // len(rows)
            self._wait_again(rows)
            return
        for row in rows:
            self._end(row, Output(error=error, tokens=len(row.generated)))

    def _choose(self, rows: list[Row], logits: torch.Tensor) -> None:
        """Give each row its next token, and those that end theirs."""
        chosen = choose([row.sampler for row in rows], logits)
        for row, token in zip(rows, chosen, strict=True):
            try:
                output = self._output(row, token)
            except Exception as error:
                output = Output(error=error, tokens=len(row.generated))
            if output.finish is not None or output.error is not None:
                if output.error is None:
                    self._keep(row)
                self._batch.leave(row)
                self._end(row, output)
            elif output.text:
                row.job.deliver(output)

    def _keep(self, row: Row) -> None:
        states = self._batch.states_of(row) if self._keeps else None
        if states is not None:
            self._prefixes.put(row.tokens()[: row.read], states)

    def _output(self, row: Row, token: int | Exception) -> Output:
        if isinstance(token, Exception):
            raise token
        row.generated.append(token)
        job, tokens = row.job, len(row.generated)
        if token in self._end_tokens:
            finish, raw, text = FinishReason.FINISH_REASON_STOP, "eos", job.text.end()
        else:
            text = job.text.push(token)
            if job.text.stopped_by is not None:
                finish, raw = FinishReason.FINISH_REASON_STOP, "stop"
            elif tokens >= job.max_tokens:
                text += job.text.end()
                finish, raw = FinishReason.FINISH_REASON_LENGTH, "length"
            else:
                return Output(text=text, tokens=tokens)
        if job.text.stopped_by is not None:
            finish, raw = FinishReason.FINISH_REASON_STOP, "stop"
        return Output(text, tokens, finish, raw, job.text.stopped_by, row.reused)

    def _end(self, row: Row, output: Output) -> None:
        self._forget(row)
        if not row.job.cancelled:
            row.job.deliver(output)

    def _forget(self, row: Row) -> None:
        row.restart()
        with self._changed:
            self._jobs -= 1


def _number(row: Row) -> int:
    return row.number


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a pass failed for want of memory. PyTorch has no class for it on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
