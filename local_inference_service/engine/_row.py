"""A request as the engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import LogitsProcessor

from local_inference_service.output import Output
from local_inference_service.sampling import Rule, SamplingParams
from local_inference_service.text_stream import TextStream


@dataclass(slots=True, eq=False)
class Job:
    """A request as callers give it to the engine.

    Attributes:
        prompt: token ids, at least one.
        max_tokens: most tokens to generate.
        params: how to choose them.
        text: turns them into text.
        deliver: called in the engine's thread with what each step gave.
        inputs: what the model takes beside the prompt's ids, such as pixel values.
        processors: change the logits before a token is chosen; they belong to this job alone.
        rules: bar tokens; likewise.
        cancelled: set from anywhere; the engine then drops the job before its next pass.
    """

    prompt: list[int]
    max_tokens: int
    params: SamplingParams
    text: TextStream
    deliver: Callable[[Output], None]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    processors: Sequence[LogitsProcessor] = ()
    rules: Sequence[Rule] = ()
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class Row:
    """The state of a job that runs.

    Attributes:
        job: what is asked.
        number: a later job has a higher one.
        sampler: chooses its tokens.
        generated: ids so far; the last one isn't in the cache yet.
        cache: keys and values of what was read, until the row joins the batch.
        read: tokens in the cache.
        offset: what the model adds to the positions after its images (multimodal rotary positions).
        reused: tokens of the prompt that came from an earlier request's cache.
    """

    job: Job
    number: int = 0
    sampler: Any = None
    generated: list[int] = field(default_factory=list)
    cache: Any = None
    read: int = 0
    offset: int = 0
    reused: int = 0

    def tokens(self) -> list[int]:
        """Ids of the prompt and of what was generated."""
        return self.job.prompt + self.generated

    def unread(self) -> list[int]:
        """Ids that the model has still to read before it can tell the next token."""
        prompt = self.job.prompt
        if self.read < len(prompt):
            return prompt[self.read :] + self.generated
        return self.generated[self.read - len(prompt) :]

    def restart(self) -> None:
        """Forget what was read; nothing that was generated is lost."""
        self.cache, self.read, self.offset = None, 0, 0
