"""Base URLs: which are well-formed, and which an allow-list lets a caller name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_STRANGE = re.compile(r"[\s\\\x00-\x1f\x7f]")
# Strict, so that no two parsers can read another host out of it.
_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_ANY_SUBDOMAIN = "*."
_AFTER_STAR = re.compile(r"(?:\.[^.:/]|[:/]|$)")


def check_base_url(url: str) -> str:
    """The URL without a trailing slash.

    Raises:
        ValueError: it is no http or https URL, names a user, has a query or fragment, a path that
            leads upwards, or a host that could be read in two ways.
    """
    parts = _parts(url)
    host = parts.netloc.removesuffix(f":{parts.port}")
    if not _HOST.fullmatch(host):
        raise ValueError("must name a host in ASCII letters, digits, dots and hyphens")
    if host.startswith("["):
        _ = IPv6Address(host[1:-1])
    elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            _ = IPv4Address(host)
        except ValueError:
            raise ValueError("must write an IPv4 address as four decimal numbers") from None
    return url.rstrip("/")


def check_allowed_url(url: str) -> str:
    """An entry of an allow-list, without a trailing slash: a base URL, or a pattern of them.

    In a pattern the host is "*" (any), or begins with "*." (any beneath the rest).

    Raises:
        ValueError: it is neither.
    """
    if not is_pattern(url):
        return check_base_url(url)
    scheme, _, rest = url.partition("://*")
    if not _AFTER_STAR.match(rest):
        raise ValueError('must have "*" for the whole host, or "*." before the rest of it')
    return check_base_url(f"{scheme}://any{rest}").replace("://any", "://*", 1)


def is_pattern(url: str) -> bool:
    """Whether an entry of an allow-list names more than one host."""
    return "://*" in url


def allowed_by(url: str, allowed: Iterable[str]) -> str | None:
    """The entry that allows a URL: it has the entry's scheme, host and port, or lies beneath it.

    Entries that name the host come before patterns. The URL must have passed `check_base_url`, the
    entries `check_allowed_url`.
    """
    wanted = urlsplit(url)
    for entry in sorted(allowed, key=is_pattern):
        if _beneath(wanted, urlsplit(entry)):
            return entry
    return None


def is_local_peer(peer: str) -> bool:
    """Whether a caller's address, as gRPC gives it, is on this machine."""
    return peer.startswith(
        ("unix:", "ipv4:127.", "ipv6:[::1]:", "ipv6:%5B::1%5D:", "ipv6:[::ffff:127.")
    )


def _parts(url: str) -> SplitResult:
    """The parts of a URL whose host is yet to be looked at."""
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
    return parts


def _beneath(wanted: SplitResult, entry: SplitResult) -> bool:
    if (wanted.scheme, _port(wanted)) != (entry.scheme, _port(entry)):
        return False
    if not _is_host(_host(wanted), _host(entry)):
        return False
    return (wanted.path + "/").startswith(entry.path + "/")


def _is_host(wanted: str, entry: str) -> bool:
    if entry.startswith(_ANY_SUBDOMAIN):
        return wanted.endswith(entry[1:]) and wanted != entry[2:]
    return entry in (wanted, "*")


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _port(parts: SplitResult) -> int:
    return parts.port or _DEFAULT_PORTS[parts.scheme]
