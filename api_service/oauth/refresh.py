"""A new access token, got by a process of its own: `python -m api_service.oauth.refresh`.

A refresh token dies when it is used, so that what comes for it must be kept whatever happens to the
service: killed between the exchange and the write, it would lose the login. This process holds the
lock of the file over reading it again, the exchange and the write; who comes later finds the new
token there. It takes a JSON object on standard input (Order) and prints one on standard output
(Outcome): no token is ever among its arguments or in what it prints.
"""

from __future__ import annotations

import json
import signal
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock, Timeout

from api_service.oauth.clock_skew import skew_in_words, skew_of
from api_service.oauth.credential_file import CredentialFile, Replacement, read_file, recover
from api_service.oauth.credentials import Grant, JsonObject, is_token, number_at, text_at
from api_service.oauth.kinds import KINDS, LoginKind
from api_service.oauth.login_error import Fault, LoginError
from api_service.oauth.refresh_order import Order, Outcome

LOCK_SUFFIX = ".lock"
_LOCK_WAIT = 60.0  # seconds that another process gets for its exchange
_ANSWER_WAIT = httpx.Timeout(30.0, connect=10.0)
_MOST_BYTES = 1024 * 1024
_USER_AGENT = "marsys-models"
# Another program that doesn't know our lock may have used the token: it gets this long to write.
_OTHERS_WAIT = 3.0
_PAUSE = 0.1
# Errors after which the refresh token is of no use any more (RFC 6749, 5.2, and OpenAI's own).
_FINAL = frozenset(
    {
        "invalid_grant",
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
        "token_expired",
        "token_revoked",
    }
)


def refresh(order: Order) -> Outcome:
    """Have a new access token in the file."""
    kind, path = KINDS[order.provider], Path(order.path)
    try:
        with _lock(kind, path):
            recover(kind, path)
            held = read_file(kind, path)
            if held.credentials.fingerprint != order.seen:
                return Outcome()
            return _Exchange(kind, path, held, order).run()
    except LoginError as error:
        return Outcome(error.fault, str(error), error.action)


def _lock(kind: LoginKind, path: Path) -> Any:
    resolved = path.resolve()
    lock = FileLock(
        f"{resolved}{LOCK_SUFFIX}", mode=0o600, preserve_lock_file=True, fallback_to_soft=False
    )
    try:
        return lock.acquire(timeout=_LOCK_WAIT)
    except Timeout:
        raise LoginError(
            Fault.UNAVAILABLE,
            f"another process has been refreshing {path} for {_LOCK_WAIT:g} s",
            "Try again shortly.",
        ) from None
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise LoginError(
            Fault.UNWRITABLE,
            f"the token is due, and {path} can't be locked: {why}",
            f"Let the service's user write to {path.parent}, or run `{kind.command}` again.",
        ) from None


class _Exchange:
    """One exchange of a refresh token."""

    def __init__(self, kind: LoginKind, path: Path, held: CredentialFile, order: Order) -> None:
        self._kind = kind
        self._path = path
        self._held = held
        self._order = order
        self._skew = 0.0

    def run(self) -> Outcome:
        """Exchange and write.

        Raises:
            LoginError: there is no new token.
        """
        if not self._held.credentials.refresh_token:
            raise self._error(
                Fault.EXPIRED, f"the login at {self._path} has ended and holds no refresh token"
            )
        with Replacement(self._kind, self._path) as replacement:
            response = self._post()
            self._tell_time(response)
            if response.status_code != 200:
                return self._refused(response)
            grant = self._grant(response)
            if grant.access_token is None and grant.refresh_token is None:
                raise self._unavailable("gave no token")
            document = self._held.document
            self._kind.renew(document, grant, time.time())
            replacement.commit(document)
        if grant.access_token is None:
            raise self._unavailable("gave no access token")
        return Outcome(exchanged=True, skew=self._skew)

    def _post(self) -> httpx.Response:
        body = {
            "grant_type": "refresh_token",
            "client_id": self._kind.client_id,
            "refresh_token": self._held.credentials.refresh_token,
        }
        try:
            verify: ssl.SSLContext | bool = True
            if self._order.ca_file is not None:
                verify = ssl.create_default_context()
                verify.load_verify_locations(self._order.ca_file)
            with httpx.Client(
                verify=verify, trust_env=self._order.proxies, timeout=_ANSWER_WAIT
            ) as client:
                headers = {"User-Agent": _USER_AGENT, "Accept": "application/json"}
                return client.post(self._order.token_url, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._unavailable(f"could not be asked ({type(error).__name__})") from None

    def _grant(self, response: httpx.Response) -> Grant:
        answer = _object_in(response)
        tokens: dict[str, Any] = {}
        for name in ("access_token", "refresh_token", "id_token"):
            token = text_at(answer, name)
            if token and is_token(token):
                tokens[name] = token
        return Grant(**tokens, expires_in=number_at(answer, "expires_in"))

    def _refused(self, response: httpx.Response) -> Outcome:
        answer = _object_in(response)
        error = answer.get("error")
        inner = error if isinstance(error, dict) else answer
        code = text_at(inner, "code") or (error if isinstance(error, str) else "")
        code = code or text_at(inner, "type")
        if response.status_code != 401 and code not in _FINAL:
            raise self._unavailable(f"answered {response.status_code}{_shown(code)}")
        if self._replaced_by_others():
            return Outcome()
        raise self._error(
            Fault.REVOKED,
            f"the login at {self._path} has ended: {self._kind.provider} refused to renew it "
            f"({response.status_code}{_shown(code)})",
        )

    def _replaced_by_others(self) -> bool:
        """Whether another program has written a new login meanwhile."""
        until = time.monotonic() + _OTHERS_WAIT
        while time.monotonic() < until:
            with suppress(LoginError):
                found = read_file(self._kind, self._path).credentials
                if found.fingerprint != self._order.seen:
                    return True
            time.sleep(_PAUSE)
        return False

    def _tell_time(self, response: httpx.Response) -> None:
        self._skew = skew_of(response.headers.get("date", ""), time.time())

    def _unavailable(self, what: str) -> LoginError:
        message = f"the token endpoint of {self._kind.provider} {what}"
        return LoginError(Fault.UNAVAILABLE, message, "Try again shortly.")

    def _error(self, fault: Fault, message: str) -> LoginError:
        action = f"Run `{self._kind.command}` on the machine that holds the login."
        if self._skew:
            message += f"; {skew_in_words(self._skew)}"
            action += " Set the machine's clock."
        return LoginError(fault, message, action)


def _object_in(response: httpx.Response) -> JsonObject:
    """The JSON object of an answer; empty where it is none."""
    try:
        value = json.loads(response.content[:_MOST_BYTES])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _shown(code: str) -> str:
    """An error code, if it looks like one: what else stands there might be a secret."""
    plain = len(code) <= 64 and code.replace("_", "").replace("-", "").isalnum()
    return f" {code}" if plain and code.islower() else ""


def main(read: Callable[[], str] = sys.stdin.read) -> int:
    """Refresh what standard input says."""
    # Between the exchange and the write nothing but SIGKILL may stop it; it ends by itself soon.
    for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    try:
        outcome = refresh(Order(**json.loads(read())))
    except Exception as error:  # its text and trace may hold what no log may
        outcome = Outcome(
            Fault.UNAVAILABLE,
            f"refreshing the login failed ({type(error).__name__})",
            "Try again shortly; if it stays, report it.",
        )
    with suppress(OSError):  # whoever ordered it may be gone
        print(json.dumps(asdict(outcome)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
