"""Calls of a model in the process that holds it, with the arguments and answers of the Python API.

The one place where the service uses the client's conversions, so that `adapter.run` and
`BaseLocalModel.run` can't differ.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, Self

from marsys.models.conversion import (
    HarmonizedResponse,
    build_request,
    harmonize,
    log_warning,
    timed_out,
    to_exception,
)
from marsys.stream import Fold
from marsys.v1 import GenerateRequest, GenerateResponse, StreamEvent
from serving.errors import ServiceError
from serving.validation import validate


class InProcess:
    """`run` and `arun` of something that generates events."""

    model_name: str

    def generate(self, request: GenerateRequest, name: str) -> AsyncIterator[Sequence[StreamEvent]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def run(self, messages: Any, **kwargs: Any) -> HarmonizedResponse:
        """Ask the model and wait for its answer. Blocks; within an event loop use `arun`.

        Args:
            messages: the conversation: dicts with "role" and "content" in OpenAI's form
                (Anthropic's parts are taken too), or a str for one user message. Images may be
                URLs, data: URLs, or paths.
            max_tokens, temperature, top_p, top_k, min_p, frequency_penalty, presence_penalty,
                repetition_penalty, seed, stop: how to generate.
            images: images to add to the last user message.
            on_unsupported: "reject" (the default) or "warn": what to do with an argument that the
                model does not take.
            timeout: how long the call may take in all, in seconds. Default: without end.
            **kwargs: further arguments, as for BaseLocalModel.run. None always means not set.

        Raises:
            ModelAPIError: the request is wrong, or the model failed.
        """
        work = asyncio.run_coroutine_threadsafe(self.arun(messages, **kwargs), _loop())
        try:
            return work.result()
        except BaseException:
            work.cancel()  # Ctrl-C ends the generation too
            raise

    async def arun(self, messages: Any, **kwargs: Any) -> HarmonizedResponse:
        """Ask the model on the running event loop. Arguments and errors as for `run`."""
        timeout: float | None = kwargs.pop("timeout", None)
        settings = self._defaults_of_calls() | {k: v for k, v in kwargs.items() if v is not None}
        request = build_request(self.model_name, messages, settings, options_allowed=False)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answer(request)
        except ServiceError as error:
            raise to_exception(error.error) from None
        except TimeoutError:
            raise timed_out(timeout or 0) from None
        for warning in answer.warnings:
            log_warning(warning)
        return harmonize(answer)

    def cleanup(self) -> None:
        """Release the model's memory. May be called twice."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    def _defaults_of_calls(self) -> dict[str, Any]:
        """Keyword arguments that hold for every call, unless the call gives others."""
        return {}

    async def _answer(self, request: GenerateRequest) -> GenerateResponse:
        validate(request)
        fold = Fold()
        batches: Any = self.generate(request, self.model_name)
        sequence = 0
        async with aclosing(batches):
            async for events in batches:
                for event in events:
                    event.sequence = sequence
                    sequence += 1
                    fold.add(event)
        return fold.result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own, for callers without one."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="marsys-in-process", daemon=True).start()
    return loop
