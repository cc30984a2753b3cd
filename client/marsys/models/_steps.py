"""What a call does, step by step, without I/O; and the two drivers that do the steps.

The logic of a call is a generator: it yields steps, is sent their outcomes (or thrown their
gRPC errors), and returns the result. So it is written once for synchronous and asyncio callers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio

from marsys.models._errors import timed_out
from marsys.models._interrupts import OutsideLocks, Uninterrupted
from marsys.rpc.channel import Stubs, is_placed, loop_stubs, sync_stubs
from marsys.rpc.connection import Connection
from marsys.rpc.deferred import DeferredCall
from marsys.v1 import (
    GenerateRequest,
    LoadModelRequest,
    LoadModelResponse,
    StreamGenerateRequest,
)

_LOOK = 0.1  # seconds between two looks at whether a caller that blocks its loop is cancelled

T = TypeVar("T")
Progress: TypeAlias = Callable[[LoadModelResponse], None]


@dataclass(frozen=True, slots=True)
class Generate:
    """Call Generate. Outcome: GenerateResponse."""

    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Call StreamGenerate and wait for its first message. Outcome: Opened."""

    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Load:
    """Call LoadModel and wait until the model is ready. Outcome: the last LoadModelResponse."""

    request: LoadModelRequest
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait some seconds. Outcome: None."""

    seconds: float


Step: TypeAlias = Generate | OpenStream | Load | Sleep
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Opened:
    """An open stream.

    Attributes:
        call: gRPC's call.
        first: the first message; None where the stream ended at once.
        read: gives the next message, or None at the end; to be awaited on an event loop.
    """

    call: Any
    first: Any
    read: Callable[[], Any]


class Clock:
    """The time that a call may take in all.

    Args:
        timeout: in seconds from now; None: without end.
        within: a clock that bounds this one.
    """

    def __init__(self, timeout: float | None, within: Clock | None = None) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        bound = None if within is None else within._end
        if within is not None and bound is not None and (self._end is None or bound < self._end):
            self.timeout, self._end = within.timeout, bound

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self._end is not None and time.monotonic() >= self._end

    @property
    def left(self) -> float | None:
        """Seconds left; None: without end.

        Raises:
            ModelTimeoutError: the time is over.
        """
        if self._end is None or self.timeout is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise timed_out(self.timeout)
        return left

    def at_most(self, seconds: float) -> float:
        """That long, or what is left where it's less."""
        return seconds if self._end is None else min(seconds, self.left or 0.0)


class _Driver:
    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._call: Any = None
        self._left = False

    def leave(self) -> None:
        """Cancel the stream that is being opened, now or as soon as it is."""
        self._left = True
        if self._call is not None:
            with Uninterrupted():
                self._call.cancel()

    def _opening(self, call: Any) -> Any:
        self._call = call
        if self._left:
            call.cancel()
        return call

    @property
    def _extras(self) -> dict[str, Any]:
        return {"timeout": self._clock.left, "metadata": self._connection.metadata}


class SyncDriver(_Driver):
    """Does steps on the calling thread."""

    def start(self, step: Generate) -> Any:
        """Begin a step without waiting: a future of its outcome."""

        def call() -> Any:
            stub = self._stubs().inference.Generate
            with Uninterrupted() as starting:
                future = stub.future(step.request, **self._extras)
                starting.stop_by(future.cancel)
            return future

        return call() if is_placed(self._connection) else DeferredCall(call)

    def run(self, steps: Steps[T], first: Any = None) -> T:
        """Do all steps.

        Args:
            steps: what to do.
            first: future of the first step, where it was started before.
        """
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._do(step) if first is None else _blocked(first)
                except grpc.RpcError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
                first = None
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Step) -> Any:
        if isinstance(step, Sleep):
            time.sleep(self._clock.at_most(step.seconds))
            return None
        stubs = self._stubs()
        if isinstance(step, Generate):
            with OutsideLocks():
                return stubs.inference.Generate(step.request, **self._extras)
        if isinstance(step, OpenStream):
            request = StreamGenerateRequest(request=step.request)
            with Uninterrupted() as reading:
                call = self._opening(stubs.inference.StreamGenerate(request, **self._extras))
                reading.stop_by(call.cancel)
                first = next(call, None)
            return Opened(call, first, lambda: _next(call))
        with Uninterrupted() as starting:
            call = stubs.models.LoadModel(step.request, **self._extras)
            starting.stop_by(call.cancel)
        last = None
        while (said := _next(call)) is not None:
            last = said
            if step.progress is not None:
                step.progress(last)
        return last

    def _stubs(self) -> Stubs:
        left = self._clock.left
        try:
            return sync_stubs(self._connection, left)
        except TimeoutError:
            raise timed_out(self._clock.timeout or 0.0) from None


class LoopDriver(_Driver):
    """Does steps on the running event loop."""

    async def run(self, steps: Steps[T], first: Any = None) -> T:
        """Do all steps. `first` as in SyncDriver.run."""
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await (self._do(step) if first is None else _result(first))
                except grpc.RpcError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
                first = None
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Sleep):
            await asyncio.sleep(self._clock.at_most(step.seconds))
            return None
        stubs = await self._stubs()
        if isinstance(step, Generate):
            return await stubs.inference.Generate(step.request, **self._extras)
        if isinstance(step, OpenStream):
            request = StreamGenerateRequest(request=step.request)
            call = self._opening(stubs.inference.StreamGenerate(request, **self._extras))

            async def read() -> Any:
                message = await call.read()
                return None if message is grpc.aio.EOF else message

            return Opened(call, await read(), read)
        last = None
        async for last in stubs.models.LoadModel(step.request, **self._extras):
            if step.progress is not None:
                step.progress(last)
        return last

    async def _stubs(self) -> Stubs:
        left = self._clock.left
        try:
            return await loop_stubs(self._connection, left)
        except TimeoutError:
            raise timed_out(self._clock.timeout or 0.0) from None


def _next(call: Any) -> Any:
    """The next message of a stream; None at its end."""
    with Uninterrupted(call.cancel):
        return next(call, None)


def _blocked(call: Any) -> Any:
    """The outcome of gRPC's future, for a caller that blocks, be it inside a running loop."""
    with Uninterrupted(call.cancel):
        return _waited(call)


def _waited(call: Any) -> Any:
    task = _running_task()
    if task is not None:
        done = threading.Event()
        call.add_done_callback(lambda _: done.set())
        before = task.cancelling()
        while not done.wait(_LOOK):
            if task.cancelling() > before:  # Ctrl-C, which asyncio only tells its task
                call.cancel()
                raise asyncio.CancelledError
    try:
        return call.result()
    except grpc.FutureCancelledError:
        raise concurrent.futures.CancelledError from None


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def _result(call: Any) -> Any:
    """The outcome of gRPC's future, without blocking the loop. Cancelling cancels the call."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    call.add_done_callback(wake)
    try:
        await done.wait()
    except asyncio.CancelledError:
        call.cancel()
        raise
    try:
        return call.result()
    except (grpc.FutureCancelledError, concurrent.futures.CancelledError):
        raise asyncio.CancelledError from None
