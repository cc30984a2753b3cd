"""The call that carries a conversation, for synchronous and for asyncio callers."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from marsys.models._interrupts import Uninterrupted
from marsys.rpc.channel import loop_stubs, sync_stubs
from marsys.rpc.connection import Connection
from marsys.v1 import ConverseRequest

# What gRPC says where a message could not go out because the call had ended, unnoticed until then.
_UNSENT = "Internal error from Core"


def was_unsent(error: grpc.RpcError) -> bool:
    """Whether a call failed with its last message unsent: the service knows nothing of that."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    return bool(code and details and code() == grpc.StatusCode.INTERNAL and details() == _UNSENT)


class SyncDialogue:
    """Converse on the calling thread. `put` and `cancel` may be called from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._said: queue.SimpleQueue[ConverseRequest | None] = queue.SimpleQueue()
        stub = sync_stubs(connection).inference
        with Uninterrupted() as starting:
            self._call = stub.Converse(self._requests(), metadata=connection.metadata)
            starting.stop_by(self.cancel)

    def put(self, request: ConverseRequest | None) -> None:
        """Say something; None: nothing more."""
        self._said.put(request)

    def read(self) -> Any:
        """What the service says next; None at the end.

        Raises:
            grpc.RpcError: the call failed.
        """
        return next(self._call, None)

    def cancel(self) -> None:
        """End the call at once."""
        self._said.put(None)
        with Uninterrupted():
            self._call.cancel()

    def _requests(self) -> Iterator[ConverseRequest]:
        while (request := self._said.get()) is not None:
            yield request


class LoopDialogue:
    """Converse on an event loop. `put` and `cancel` may be called from any thread.

    Make it with `open`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._said: asyncio.Queue[ConverseRequest | None] = asyncio.Queue()
        self._call: Any = None
        self._reading: asyncio.Future[Any] | None = None

    @property
    def here(self) -> bool:
        """Whether the running event loop is the conversation's."""
        return self._loop is asyncio.get_running_loop()

    async def open(self) -> None:
        """Make the call."""
        stubs = await loop_stubs(self._connection)
        self._call = stubs.inference.Converse(self._requests(), metadata=self._connection.metadata)

    def put(self, request: ConverseRequest | None) -> None:
        """Say something; None: nothing more."""
        self._do(self._said.put_nowait, request)

    async def read(self) -> Any:
        """What the service says next; None at the end.

        Raises:
            grpc.RpcError: the call failed.
        """
        # Cancelling gRPC's read would end the whole call, so it outlives who waits for it.
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
            self._reading.add_done_callback(_noticed)
        await asyncio.wait({self._reading})
        # Not before: whoever waits may be cancelled just as it comes.
        reading, self._reading = self._reading, None
        if reading.cancelled():  # by `cancel`, which is no cancelling of whoever waits
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, nothing, nothing, "left")
        message = reading.result()
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        """End the call at once."""
        if self._call is not None:
            self._do(self._call.cancel)

    def _do(self, function: Any, *arguments: Any) -> None:
        if threading.get_ident() == self._thread:
            function(*arguments)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    async def _requests(self) -> AsyncIterator[ConverseRequest]:
        while (request := await self._said.get()) is not None:
            yield request


def _noticed(reading: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is nothing to complain of."""
    if not reading.cancelled():
        reading.exception()
