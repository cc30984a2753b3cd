"""What a refresh is told, and what it tells: the two sides of api_service.oauth.refresh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be refreshed.

    Attributes:
        provider: the provider.
        path: the file.
        seen: fingerprint of the access token that is to be replaced; another one in the file is
            newer, and adopted.
        token_url: the token endpoint.
        ca_file: PEM file of further authorities; None: the system's alone.
        proxies: whether HTTPS_PROXY and its like count.
    """

    provider: str
    path: str
    seen: str
    token_url: str
    ca_file: str | None = None
    proxies: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. Holds no secret.

    Attributes:
        fault: what was wrong (Fault); empty: the file holds a new access token.
        message: the fault in words.
        action: what to run or do.
        exchanged: whether the token endpoint gave the token, not another process.
        skew: by how many seconds this machine's clock is ahead of the endpoint's; 0: about right.
    """

    fault: str = ""
    message: str = ""
    action: str = ""
    exchanged: bool = False
    skew: float = 0.0
