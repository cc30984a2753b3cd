"""What `stream` gives: chunks, for `for` and `async for` alike."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import grpc

from marsys.agents.exceptions import ModelAPIError
from marsys.models._chunks import ChunkReader
from marsys.models._errors import from_call
from marsys.models._steps import Clock, LoopDriver, Opened, Steps, SyncDriver
from marsys.models.response import AttributeDict, HarmonizedResponse
from marsys.rpc.channel import place_of
from marsys.rpc.connection import Connection


class ChunkStream(Iterator[AttributeDict], AsyncIterator[AttributeDict], ABC):
    """Chunks for `for` and `async for`, which can be left early."""

    @property
    @abstractmethod
    def response(self) -> HarmonizedResponse | None:
        """The whole answer once the stream has ended, else None."""

    @property
    @abstractmethod
    def opened(self) -> bool:
        """Whether the service has begun to answer."""

    @abstractmethod
    def close(self) -> None:
        """Stop: the call is cancelled if it still runs. May be called at any time."""

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """The same as `close`, for asyncio code."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class ResponseStream(ChunkStream):
    """The chunks of one answer. The call begins with the first one that is asked for.

    Read it with `for` or `async for`, once. Leave it early with `close()` or `await aclose()`, or
    by leaving its `with` or `async with` block: the call is then cancelled, and so is the work
    behind it.

    Chunks are dicts (items can be read as attributes) with `type` ("text", "thinking",
    "tool_call", "image", "usage" or "done"), `content` (always a str), `thinking` (always a str),
    `tool_calls` (whole ones), `index` of the part, `finish_reason` and `usage`. The last one has
    the type "done" and the whole `response`.

    Raises:
        ModelAPIError: at the first chunk or any later one; also where the stream ends early.
    """

    def __init__(
        self,
        connection: Connection,
        opening: Callable[[float | None], Steps[Opened]],
        begin: Callable[[], Clock],
        max_retries: int,
    ) -> None:
        self._connection = connection
        self._opening = opening
        self._begin_clock = begin
        self._timeout: float | None = None
        self._reader = ChunkReader(max_retries)
        self._chunks: deque[AttributeDict] = deque()
        self._opened: Opened | None = None
        self._driver: SyncDriver | LoopDriver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mode = ""
        self._ended = self._closed = False
        self._response: HarmonizedResponse | None = None

    @property
    def response(self) -> HarmonizedResponse | None:
        """The whole answer once the stream has ended, else None."""
        return self._response

    def __next__(self) -> AttributeDict:
        try:
            while (chunk := self._pop()) is None:
                if self._ended:
                    raise StopIteration
                self._begin("for")
                self._read()
        except Exception:
            raise
        except BaseException:  # Ctrl-C: nobody wants the answer any more
            self.close()
            raise
        else:
            return chunk

    async def __anext__(self) -> AttributeDict:
        while (chunk := self._pop()) is None:
            if self._ended:
                raise StopAsyncIteration
            self._begin("async for")
            task = asyncio.current_task()
            before = 0 if task is None else task.cancelling()
            try:
                if self._opened is None:
                    self._loop = asyncio.get_running_loop()
                    driver = self._driver = LoopDriver(self._connection, self._clock())
                    self._opened = await driver.run(self._opening(self._timeout))
                    message = self._opened.first
                else:
                    message = await self._opened.read()
            except asyncio.CancelledError:
                # A stream that is closed meanwhile just ends; its reader is not cancelled by that.
                if not self._closed or (task is not None and task.cancelling() > before):
                    raise
            except Exception as error:
                self._failed(error)
            else:
                self._take(message)
        return chunk

    @property
    def opened(self) -> bool:
        """Whether the service has begun to answer."""
        return self._opened is not None

    def close(self) -> None:
        """Stop: the call is cancelled if it still runs. May be called at any time."""
        self._ended = self._closed = True
        self._chunks.clear()
        driver, loop = self._driver, self._loop
        if driver is None:
            return
        if loop is None or loop is _running_loop():
            driver.leave()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(driver.leave)

    def __del__(self) -> None:
        # Whoever drops a stream half read wants no more of it. A loop's call is its loop's to end.
        driver = self.__dict__.get("_driver")
        if driver is None or self._ended or self._reader.finished:
            return
        if self._loop is None:
            driver.leave()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(driver.leave)

    def _read(self) -> None:
        try:
            if self._opened is None:
                driver = self._driver = SyncDriver(self._connection, self._clock())
                self._opened = driver.run(self._opening(self._timeout))
                message = self._opened.first
            else:
                message = self._opened.read()
        except Exception as error:
            self._failed(error)
        else:
            self._take(message)

    def _begin(self, mode: str) -> None:
        if self._mode not in ("", mode):
            raise RuntimeError(f"the stream is already read by `{self._mode}`")
        self._mode = mode

    def _clock(self) -> Clock:
        clock = self._begin_clock()
        self._timeout = clock.timeout
        return clock

    def _take(self, message: Any) -> None:
        if self._closed:
            return
        try:
            if message is None:
                self._ended = True
                self._reader.end()
            else:
                self._chunks.extend(self._reader.read(message))
        except Exception:
            self.close()
            raise

    def _pop(self) -> AttributeDict | None:
        try:
            chunk = self._chunks.popleft()
        except IndexError:
            return None
        if chunk["type"] == "done":
            self._response = chunk["response"]
        return chunk

    def _failed(self, error: Exception) -> None:
        """The call failed: raise what the caller shall see. After the answer's end it's no loss."""
        self._ended = True
        if self._closed and isinstance(error, (grpc.RpcError, ModelAPIError)):
            return
        if not isinstance(error, grpc.RpcError):
            raise error
        if not self._reader.finished:
            failure = from_call(error, place_of(self._connection), self._timeout)
            failure.context["partial_length"] = self._reader.length
            raise failure from None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
