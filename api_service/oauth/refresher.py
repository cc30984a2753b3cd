"""Has logins refreshed: once for all calls of this process that wait for the same file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from api_service.oauth.clock_skew import skew_in_words
from api_service.oauth.kinds import LoginKind
from api_service.oauth.login_error import Fault, LoginError
from api_service.oauth.refresh_order import Order, Outcome

log = logging.getLogger(__name__)


class Refresher:
    """Starts a process for each refresh (api_service.oauth.refresh), and waits for it.

    A caller that leaves, or the service's own end, does not end that process: the login would be
    lost with it.

    Args:
        token_urls: token endpoints by provider, where they aren't the usual ones.
        ca_file: PEM file of further authorities.
        proxies: whether HTTPS_PROXY and its like count.
    """

    def __init__(
        self,
        token_urls: dict[str, str] | None = None,
        ca_file: Path | None = None,
        proxies: bool = False,
    ) -> None:
        self._token_urls = token_urls or {}
        self._ca_file = None if ca_file is None else str(ca_file)
        self._proxies = proxies
        self._running: dict[tuple[Path, str], asyncio.Task[Outcome]] = {}

    async def refresh(self, kind: LoginKind, path: Path, seen: str) -> None:
        """Have another access token in the file than the one seen.

        Args:
            kind: the kind of login.
            path: its file.
            seen: fingerprint of the access token that is to be replaced.

        Raises:
            LoginError: there is no other token.
        """
        key = (path, seen)
        task = self._running.get(key)
        if task is None:
            token_url = self._token_urls.get(kind.provider, kind.token_url)
            order = Order(kind.provider, str(path), seen, token_url, self._ca_file, self._proxies)
            task = self._running[key] = asyncio.create_task(_in_its_own_process(order))
            task.add_done_callback(lambda done: self._running.pop(key, None))
        outcome = await asyncio.shield(task)
        if outcome.fault:
            raise LoginError(Fault(outcome.fault), outcome.message, outcome.action)


async def _in_its_own_process(order: Order) -> Outcome:
    """Run a refresh. asyncio would kill the process with the loop, so a thread waits for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    def wait() -> None:
        outcome = _run(order)
        with suppress(RuntimeError):  # the loop has ended; the file holds what came
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=wait, name="oauth-refresh", daemon=True).start()
    outcome = await future
    if outcome.exchanged:
        log.info("%s: the login at %s is refreshed", order.provider, order.path)
    if outcome.skew:
        log.warning("%s: %s", order.provider, skew_in_words(outcome.skew))
    return outcome


def _run(order: Order) -> Outcome:
    try:
        process = subprocess.Popen(
            # -P: modules come from where this process finds them, and from nowhere else.
            [sys.executable, "-P", "-m", "api_service.oauth.refresh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": _module_path()},
            start_new_session=True,  # signals to the service's group are not for it
            text=True,
        )
        answer, _ = process.communicate(json.dumps(asdict(order)))
        return Outcome(**json.loads(answer))
    except (OSError, ValueError, TypeError) as error:
        return Outcome(
            Fault.UNAVAILABLE,
            f"the login could not be refreshed ({type(error).__name__})",
            "Try again shortly; if it stays, report it.",
        )


def _module_path() -> str:
    """Where this process finds its modules."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
