"""What `run` gives inside a running event loop: an answer that is on its way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from typing import Any

from marsys.models.response import HarmonizedResponse


class PendingResponse(Mapping[str, Any]):
    """A call that has been started.

    `await` it, which lets the loop go on. Or read it like the response, which blocks until the
    answer is there. Either way the errors of the call are raised there.
    """

    def __init__(
        self,
        call: Any,
        block: Callable[[], HarmonizedResponse],
        wait: Callable[[], Coroutine[Any, Any, HarmonizedResponse]],
    ) -> None:
        self.__call = call
        self.__block = block
        self.__wait = wait
        self.__used = False
        self.__response: HarmonizedResponse | None = None

    def __await__(self) -> Generator[Any, None, HarmonizedResponse]:
        return self.__finish().__await__()

    async def __finish(self) -> HarmonizedResponse:
        self.__used = True
        if self.__response is None:
            self.__response = await self.__wait()
        return self.__response

    def result(self) -> HarmonizedResponse:
        """The answer; blocks until it is there."""
        self.__used = True
        if self.__response is None:
            try:
                self.__response = self.__block()
            except Exception:
                raise
            except BaseException:  # Ctrl-C: nobody wants the answer any more
                self.__call.cancel()
                raise
        return self.__response

    def done(self) -> bool:
        """Whether the answer, or an error, is there."""
        return self.__response is not None or bool(self.__call.done())

    def cancel(self) -> bool:
        """Stop the call. Returns whether it was still running.

        Whoever awaits it gets asyncio.CancelledError, and `result` raises that of
        concurrent.futures.
        """
        self.__used = True
        return bool(self.__call.cancel())

    def __getitem__(self, key: str) -> Any:
        return self.result()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.result())

    def __len__(self) -> int:
        return len(self.result())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols ask for these; they must not block
            raise AttributeError(name)
        return getattr(self.result(), name)

    # asyncio.gather keys its arguments by hash; two calls are never the same.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        shown = self.__response
        return repr(shown) if shown is not None else "<PendingResponse: await it>"

    def __del__(self) -> None:
        if not self.__dict__.get("_PendingResponse__used", True):
            self.__call.cancel()
            warnings.warn(
                "the response of run() was never awaited or read", RuntimeWarning, stacklevel=2
            )
