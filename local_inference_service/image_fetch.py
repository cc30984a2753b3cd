"""Images that lie elsewhere, fetched only from where that is allowed."""

from __future__ import annotations

import socket
import ssl
import zlib
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from local_inference_service.media_rules import ImageError, MediaRules, NotAllowed
from serving.base_url import allowed_by, check_base_url, is_pattern
from serving.reach import Reach, is_within

_HEADERS = {"User-Agent": "marsys-models", "Accept": "image/*", "Accept-Encoding": "identity"}
_MOST_HOPS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_FORBIDDEN = "the operator has not allowed images to be fetched from there (allow_image_urls)"


async def fetch(url: str, rules: MediaRules) -> bytes:
    """The body of an address. Redirects are followed, each judged as the first address was.

    Raises:
        ImageError: it isn't allowed, can't be reached, or is too large.
    """
    for _ in range(_MOST_HOPS):
        reach = _judge(url, rules)
        connector = _Connector(reach, rules.tls)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    timeout=aiohttp.ClientTimeout(total=None),  # the caller has the clock
                ) as session,
                session.get(url, headers=_HEADERS, allow_redirects=False) as response,
            ):
                if response.status not in _REDIRECTS:
                    return await _body(response, rules.max_bytes)
                target = response.headers.get("Location", "")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if connector.refused:
                raise NotAllowed(_FORBIDDEN) from None
            raise ImageError(f"can't be fetched: {_reason(error)}") from None
        if not target:
            raise ImageError("can't be fetched: the server redirects to nowhere")
        url = urljoin(url, target)
    raise ImageError(f"can't be fetched: the server redirects more than {_MOST_HOPS} times")


def _judge(url: str, rules: MediaRules) -> Reach:
    """How far the connection for an address may go.

    Raises:
        ImageError: the address is malformed or not allowed.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ImageError("must hold no spaces or control characters")
    try:
        parts = urlsplit(url)
        origin = check_base_url(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise ImageError(str(error)) from None
    if rules.allow_urls is None:
        if parts.scheme != "https":
            raise NotAllowed("only https: URLs are fetched")
        return Reach.PUBLIC
    try:
        where = check_base_url(origin + parts.path)
    except ValueError:  # what can be read in two ways lies beneath no entry's path
        where = origin
    entry = allowed_by(where, rules.allow_urls)
    if entry is None:
        raise NotAllowed(_FORBIDDEN)
    if is_pattern(entry):
        return Reach.PUBLIC
    return Reach.ANY if _is_address(parts.hostname or "") else Reach.NETWORK


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    if response.status != 200:
        raise ImageError(f"can't be fetched: the server answers {response.status}")
    too_large = ImageError(f"has more than {most} bytes")
    if (response.content_length or 0) > most:
        raise too_large
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise too_large
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return bytes(body)
    if encoding not in ("gzip", "deflate"):
        raise ImageError(f"can't be fetched: the server compresses it by {encoding[:16]!r}")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two
    try:
        unpacked = unpack.decompress(bytes(body), most + 1)
    except zlib.error:
        raise ImageError("can't be fetched: its compression is broken") from None
    if len(unpacked) > most:
        raise too_large
    if not unpack.eof:
        raise ImageError("can't be fetched: it is cut off")
    return unpacked


def _reason(error: Exception) -> str:
    """Why a fetch failed, in words that tell nothing of this machine's network."""
    if isinstance(error, aiohttp.ClientSSLError):
        return "the server's certificate can't be verified"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "the server can't be reached"
    return "the connection broke off, or what came is no HTTP"


class _Connector(aiohttp.TCPConnector):
    """Connects to what lies within reach.

    Addresses are judged when they are connected to, so that a name can't change its meaning in
    between.

    Attributes:
        refused: whether an address was out of reach.
    """

    def __init__(self, reach: Reach, tls: ssl.SSLContext | None) -> None:
        self._reach = reach
        self.refused = False
        super().__init__(
            force_close=True,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=self._socket,
            ssl=True if tls is None else tls,
        )

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_within(address[0], self._reach):
            self.refused = True
            raise OSError(None, "out of reach")
        return socket.socket(family, kind, protocol)
