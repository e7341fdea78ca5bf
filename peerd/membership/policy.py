"""Which addresses a peer may be made to dial. Sans-IO.

Anybody who belongs to the network writes what they like into their descriptor, and every peer dials it:
without a rule, a member could make all hosts of the network knock at a service of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from peerd.config import parse_address
from peerd.errors import InvalidInputError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_MAPPED_BITS = 96


class DialPolicy:
    """`allow`: ranges in CIDR form, and nothing else then. Empty: all but loopback (unless this peer listens
    there itself, as on a test bed), link-local, multicast, unspecified and reserved addresses.

    InvalidInputError for what is no range.
    """

    def __init__(self, allow: Sequence[str], own_listen: str) -> None:
        self._allow = tuple(_network(text) for text in allow)
        host, _ = parse_address(own_listen, "link.listen")
        own = _address(host)
        self._loopback = host == "localhost" or (own is not None and own.is_loopback)

    def permits(self, ip: str) -> bool:
        """Whether to connect to this address: an IP, as a name's is looked up just before."""
        address = _address(ip)
        if address is None:
            return False
        if self._allow:
            return any(address in network for network in self._allow)
        if address.is_loopback:
            return self._loopback
        return not (
            address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
            or address in _THIS_NETWORK
        )


def _address(text: str) -> Address | None:
    """A v4-mapped v6 address is the v4 address that it leads to."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _network(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidInputError(
            f"membership.dial_allow: {text!r} is not an address range such as 192.0.2.0/24"
        ) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
