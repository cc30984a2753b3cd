"""The chunks of the first of several models that answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from marsys.agents.exceptions import ModelError
from marsys.models._attempts import Attempts
from marsys.models._stream import ChunkStream, ResponseStream
from marsys.models.response import AttributeDict, HarmonizedResponse


class FallbackStream(ChunkStream):
    """The same as ResponseStream, of the first of several models that gives any content.

    Once a chunk of an answer has been handed out, a failure is raised: nothing comes twice.

    Args:
        begin: begins the call, when the first chunk is asked for.

    Raises:
        ModelError: at the first chunk, where no model answers, or at a later one.
    """

    def __init__(self, begin: Callable[[], Attempts]) -> None:
        self._begin = begin
        self._attempts: Attempts | None = None
        self._stream: ResponseStream | None = None
        self._held: deque[AttributeDict] = deque()  # what counts only if content follows
        self._ready: deque[AttributeDict] = deque()
        self._has_content = False
        self._closed = False

    @property
    def response(self) -> HarmonizedResponse | None:
        """The whole answer once the stream has ended, else None."""
        return None if self._stream is None else self._stream.response

    @property
    def opened(self) -> bool:
        """Whether the service has begun to answer."""
        return self._stream is not None and self._stream.opened

    def __next__(self) -> AttributeDict:
        while not self._ready:
            if self._closed:
                raise StopIteration
            try:
                self._take(next(self._current()))
            except ModelError as error:
                self._fell(error)
        return self._ready.popleft()

    async def __anext__(self) -> AttributeDict:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            try:
                self._take(await anext(self._current()))
            except ModelError as error:
                self._fell(error)
        return self._ready.popleft()

    def close(self) -> None:
        """Stop: the call is cancelled if it still runs. May be called at any time."""
        self._closed = True
        self._ready.clear()
        if self._attempts is not None:
            self._attempts.cancel()
        if self._stream is not None:
            self._stream.close()

    def _current(self) -> ResponseStream:
        if self._attempts is None:
            self._attempts = self._begin()
        if self._stream is None:
            clock = self._attempts.clock
            self._stream = self._attempts.call.stream(lambda: clock)
        return self._stream

    def _take(self, chunk: AttributeDict) -> None:
        self._held.append(chunk)
        if chunk["type"] == "usage" and not self._has_content:
            return
        self._has_content = True
        self._ready += self._held
        self._held.clear()
        if chunk["type"] == "done" and self._attempts is not None:
            self._attempts.answered(chunk["response"])

    def _fell(self, error: ModelError) -> None:
        if self._attempts is None:
            raise error
        self._attempts.fell(error, final=self._has_content)
        self._held.clear()
        self._stream = None
