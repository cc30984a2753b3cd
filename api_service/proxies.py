"""Which HTTP proxy a request takes, by the usual environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


class Proxies:
    """Proxies by the scheme of the address.

    Args:
        environ: holds HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case. NO_PROXY lists hosts
            (with those beneath them), addresses, networks such as 10.0.0.0/8, or "*".
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._by_scheme = {
            scheme: proxy
            for scheme in ("http", "https")
            if (proxy := _variable(environ, f"{scheme}_proxy"))
        }
        self._straight = [
            entry.strip().lower().lstrip(".")
            for entry in _variable(environ, "no_proxy").split(",")
            if entry.strip()
        ]

    def proxy_for(self, url: str) -> str | None:
        """The proxy's address; None: the request goes straight."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if any(_covers(entry, host, parts.port) for entry in self._straight):
            return None
        return self._by_scheme.get(parts.scheme)


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY means a host."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and int(number) == port:
        entry = name.strip("[]")
    return host == entry or host.endswith(f".{entry}")


def _variable(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()
