"""Where calls without a target go: to the service on the usual port, or to an embedded one.

Decided at the first call, once for each process and kind of service, on a thread of its own; all
callers wait for the same decision. It holds until the embedded service ends.
"""

from __future__ import annotations

import asyncio
import copy
import os
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from marsys.agents.exceptions import AgentFrameworkError, ModelAPIError
from marsys.embedded._child import Child
from marsys.embedded._default import answers
from marsys.embedded._tree import SUPPORTED, Folder
from marsys.embedded.programs import PROGRAMS, Program
from marsys.rpc.connection import Connection
from marsys.rpc.target import Target


class _Place(Protocol):
    """Where calls go, as long as it is alive."""

    @property
    def target(self) -> Target: ...

    @property
    def alive(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _UsualPort:
    """The service that ran before; what becomes of it is its operator's business."""

    target: Target
    alive: bool = True


_lock = threading.Lock()
_places: dict[str, Future[_Place]] = {}


def settle(connection: Connection, timeout: float | None = None) -> Connection:
    """The connection to use in place of one that names no target. Blocks while a service starts.

    Args:
        connection: its `embedded` says which service is meant.
        timeout: how long to wait, in seconds; None: until it is there, or can't be.

    Raises:
        ModelAPIError: no service answers and none can be started.
        TimeoutError: it takes longer.
    """
    future = _place(connection)
    try:
        return _aimed(connection, future.result(timeout))
    except AgentFrameworkError as error:
        raise copy.copy(error) from None  # each caller its own, with its own traceback


async def settle_async(
    connection: Connection,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Connection:
    """The same on the running event loop."""
    future = _place(connection)
    if not future.done():
        # Only looked at, since others wait for it, too.
        await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout)
    return settle(connection, 0)


def settled(connection: Connection) -> Connection | None:
    """The connection to use in place of one that names no target, where that is known by now."""
    with _lock:
        future = _places.get(connection.embedded)
    if future is None or not future.done() or future.exception() is not None:
        return None
    return _aimed(connection, future.result())


def is_settled(connection: Connection) -> bool:
    """Whether `settle` would return at once."""
    with _lock:
        future = _places.get(connection.embedded)
    return future is not None and future.done() and _holds(future)


def _aimed(connection: Connection, place: _Place) -> Connection:
    return replace(connection, target=place.target, embedded="")


def _place(connection: Connection) -> Future[_Place]:
    kind = connection.embedded
    with _lock:
        future = _places.get(kind)
        if future is None or (future.done() and not _holds(future)):
            future = _places[kind] = Future()
            future.set_running_or_notify_cancel()  # whoever stops waiting doesn't stop the start
            # A daemon: a program that ends doesn't wait for a service to start.
            threading.Thread(
                target=_decide, args=(connection, future), name=f"marsys-{kind}", daemon=True
            ).start()
        return future


def _holds(future: Future[_Place]) -> bool:
    return future.exception() is None and future.result().alive


def _decide(connection: Connection, future: Future[_Place]) -> None:
    """Find or start the service; if it was started, stay with it to its end."""
    try:
        place = _find(connection)
    except BaseException as error:
        future.set_exception(error)
        return
    future.set_result(place)
    if isinstance(place, Child):
        place.wait()


def _find(connection: Connection) -> _Place:
    usual = replace(connection, embedded="")
    if answers(usual):
        return _UsualPort(usual.target)
    program = PROGRAMS[connection.embedded]
    _check_possible(program, usual.target)
    folder = Folder(program.name)
    with folder.locked():
        instance = folder.current()
        if instance is not None:
            return instance
        child = Child(program, folder.new())
        folder.publish(child.instance)
        return child


def _check_possible(program: Program, usual: Target) -> None:
    """Raises ModelAPIError where the service can't be started here."""
    missing = program.missing
    if missing:
        why, remedy = f"{', '.join(missing)} is not installed", f"Run {program.remedy}"
    elif not SUPPORTED:
        why, remedy = f"{sys.platform} has no Unix sockets", "Start one: marsys serve"
    elif not sys.executable or getattr(sys, "frozen", False):
        why, remedy = "there is no Python interpreter to run it", "Start one: marsys serve"
    else:
        return
    raise ModelAPIError(
        f"no service answers at {usual}, and {program.module} can't be started here: {why}",
        classification="network_error",
        reason="NETWORK_ERROR",
        grpc_code="UNAVAILABLE",
        suggested_action=f"{remedy}; or set target= or {program.prefix}TARGET to a service that "
        "runs.",
    )


def _begin_anew() -> None:
    """In a forked process: what was under way is not, and what others started is looked up."""
    global _lock
    _lock = threading.Lock()
    _places.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
