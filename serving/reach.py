"""Which addresses a request may go to. Judged by number, after names are resolved; no I/O."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address


class Reach(Enum):
    """How far a request may reach.

    ANY is for addresses that the operator set, NETWORK for those that a caller set and that may lie
    on this machine or in a private network, PUBLIC for the rest.
    """

    ANY = "any"
    NETWORK = "network"
    PUBLIC = "public"


# Where clouds hand out their machines' credentials, besides the link-local 169.254.169.254.
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
    )
)  # fmt: skip
_THIS_HOST = IPv4Network("0.0.0.0/8")
# IPv6 networks whose last 32 bits are an IPv4 address: IPv4-compatible and both NAT64 prefixes.
_EMBEDDING = tuple(IPv6Network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))
_SITE_LOCAL = ip_network("fec0::/10")
_LOOPBACK_6 = IPv6Address("::1")


def is_within(host: str, reach: Reach) -> bool:
    """Whether an IP address, such as "10.0.0.1" or "fe80::1%eth0", may be connected to."""
    if reach is Reach.ANY:
        return True
    return all(_may_reach(address, reach) for address in _meanings(ip_address(host)))


def _may_reach(address: Address, reach: Reach) -> bool:
    if address == _LOOPBACK_6 or address.is_loopback:
        return reach is Reach.NETWORK
    if (
        address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address in _METADATA
        or (address.version == 4 and address in _THIS_HOST)
        or (address.version == 6 and address in _SITE_LOCAL)
    ):
        return False
    return reach is Reach.NETWORK or address.is_global


def _meanings(address: Address) -> list[Address]:
    """The address, or the IPv4 addresses that it stands for."""
    if isinstance(address, IPv4Address) or address == _LOOPBACK_6:
        return [address]
    address = IPv6Address(int(address))  # without its zone
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if int(address) and any(address in network for network in _EMBEDDING):
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]
