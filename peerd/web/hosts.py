"""Which Host a request may name: the answer to DNS rebinding.

A foreign site can have its own name resolve to 127.0.0.1, so that a browser takes what listens there for that
site, and lets its scripts read it. Such a request names the site in `Host`. An address is nobody's name.
"""

from __future__ import annotations

import ipaddress
import re

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
LOCALHOST = "localhost"


def name_of(host: str) -> str:
    """Of a `Host` header, without the port and in lower case; empty where it is none."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""


def names_no_domain(name: str) -> bool:
    """An IP address, or `localhost`, which browsers resolve by themselves."""
    return name == LOCALHOST or _address(name) is not None


def is_loopback(name: str) -> bool:
    """`localhost`, or an address of this machine's loopback."""
    address = _address(name)
    return name == LOCALHOST if address is None else address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
