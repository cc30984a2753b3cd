"""Base URLs of providers: which are well-formed, and which a caller may set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_STRANGE = re.compile(r"[\s\\\x00-\x1f\x7f]")


def check_base_url(url: str) -> str:
    """The URL without a trailing slash.

    Raises:
        ValueError: it is no http or https URL, names a user, has a query or fragment, or a path
            that leads upwards.
    """
    if _STRANGE.search(url):
        raise ValueError("must hold no spaces, backslashes or control characters")
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("must name a host")
    if "@" in parts.netloc:
        raise ValueError("must name no user or password")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must have no query and no fragment")
    if ".." in parts.path.lower().replace("%2e", ".").split("/") or "//" in parts.path:
        raise ValueError("must have a plain path")
    if "%2f" in parts.path.lower():
        raise ValueError("must have a plain path")
    _ = parts.port  # raises ValueError where it is no port
    return url.rstrip("/")


def is_allowed(url: str, allowed: Iterable[str]) -> bool:
    """Whether a URL has the scheme, host and port of an allowed one and lies at or beneath it.

    Both must have passed `check_base_url`.
    """
    wanted = urlsplit(url)
    return any(_beneath(wanted, urlsplit(prefix)) for prefix in allowed)


def is_local_peer(peer: str) -> bool:
    """Whether a caller's address, as gRPC gives it, is on this machine."""
    return peer.startswith(
        ("unix:", "ipv4:127.", "ipv6:[::1]:", "ipv6:%5B::1%5D:", "ipv6:[::ffff:127.")
    )


def _beneath(wanted: SplitResult, prefix: SplitResult) -> bool:
    if _origin(wanted) != _origin(prefix):
        return False
    return (wanted.path + "/").startswith(prefix.path + "/")


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, (parts.hostname or "").rstrip("."), port
