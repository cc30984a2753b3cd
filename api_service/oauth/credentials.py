"""What a login's file holds, whoever wrote it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

_MARGIN = 300.0  # seconds before its end in which a token is renewed
_MARGIN_SHARE = 0.25  # of a short life: one of a minute must not be renewed at every call
_IN_HEADER = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login.

    Attributes:
        access_token: what calls show.
        refresh_token: what a new access token is got for; empty: there is none.
        expires_at: when the access token ends, in seconds since the epoch by this machine's clock;
            None: unknown.
        lifetime: how long it lasts in all, in seconds; None: unknown.
        account: who is logged in, for people to read; may be empty.
        account_id: the account that calls name beside the token; may be empty.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_at: float | None = None
    lifetime: float | None = None
    account: str = ""
    account_id: str = ""

    @property
    def fingerprint(self) -> str:
        """Tells this access token from others, and nothing about it."""
        return fingerprint(self.access_token)

    def expired(self, now: float) -> bool:
        """Whether the access token has ended."""
        return self.expires_at is not None and now >= self.expires_at

    def due(self, now: float) -> bool:
        """Whether the access token is to be renewed: it ends within 5 minutes."""
        if self.expires_at is None:
            return False
        lifetime = self.lifetime if self.lifetime is not None else _MARGIN / _MARGIN_SHARE
        return now >= self.expires_at - min(_MARGIN, lifetime * _MARGIN_SHARE)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token endpoint gave (RFC 6749, 5.1). What is None was not given.

    Attributes:
        access_token: the new access token.
        refresh_token: the new refresh token; the old one is of no use any more.
        id_token: the new identity token (OpenID Connect).
        expires_in: how long the access token lasts, in seconds.
    """

    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    expires_in: float | None = None


def fingerprint(token: str) -> str:
    """Tells one token from others, and nothing about it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def object_at(document: Mapping[str, Any], key: str) -> JsonObject:
    """The object at a key; an empty one where there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def text_at(document: Mapping[str, Any], key: str) -> str:
    """The text at a key; empty where there is none."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def number_at(document: Mapping[str, Any], key: str) -> float | None:
    """The number at a key, if it is one that a time can have."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return float(value)


def is_token(text: str) -> bool:
    """Whether a text can be sent in a header."""
    return _IN_HEADER.fullmatch(text) is not None
