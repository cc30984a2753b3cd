"""Token endpoints: which addresses a refresh token may be sent to."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from serving.base_url import check_base_url


def check_token_url(url: str) -> str:
    """The URL, if it is https, or http on this machine.

    Raises:
        ValueError: it is neither.
    """
    url = check_base_url(url)
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://: a login is sent to it")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
