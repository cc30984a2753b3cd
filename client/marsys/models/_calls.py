"""Runs the tool calls of a turn, all at once, for synchronous and for asyncio callers."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from marsys.models._functions import Function, Result, awaited, failed, succeeded

_MOST_THREADS = 16


def run_calls(functions: Mapping[str, Function], calls: Sequence[Any]) -> list[Result]:
    """Run calls, several in threads. What a function raises becomes its result."""

    def run(call: Any) -> Result:
        try:
            function = functions[_name(call)]
            value = function.call(call["function"]["arguments"])
            return succeeded(call, asyncio.run(awaited(value)) if function.is_async else value)
        except (Exception, SystemExit) as error:  # a tool's exit is not the program's
            return failed(call, error)

    if len(calls) == 1 and (not _in_loop() or not functions[_name(calls[0])].is_async):
        return [run(calls[0])]  # here, where Ctrl-C reaches it
    with ThreadPoolExecutor(min(len(calls), _MOST_THREADS), "tool") as threads:
        copies = [contextvars.copy_context() for _ in calls]
        futures = [
            threads.submit(copy.run, run, call) for copy, call in zip(copies, calls, strict=True)
        ]
        return [future.result() for future in futures]


async def arun_calls(functions: Mapping[str, Function], calls: Sequence[Any]) -> list[Result]:
    """The same on the running event loop; functions that aren't async run in threads."""

    async def run(call: Any) -> Result:
        try:
            function = functions[_name(call)]
            arguments = call["function"]["arguments"]
            if function.is_async:
                return succeeded(call, await function.call(arguments))
            return succeeded(call, await asyncio.to_thread(function.call, arguments))
        except (Exception, SystemExit) as error:
            return failed(call, error)

    return list(await asyncio.gather(*map(run, calls)))


def _name(call: Any) -> str:
    name: str = call["function"]["name"]
    return name


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
