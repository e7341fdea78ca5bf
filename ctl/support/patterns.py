"""What secrets, addresses and people's folders look like in a text."""

from __future__ import annotations

import ipaddress
import re

SECRETS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"-----BEGIN .*?(?:-----END[^\n]*|\Z)",
        r"(?i:peerd-join)\.[^\s\"']+",
        r"(?<![0-9a-zA-Z])(?:0[xX])?[0-9a-fA-F]{32,}(?![0-9a-zA-Z])",
        r"(?<=[Bb]earer )\S+",
        r"(?<=--password )\S+",
        r"(?<=--token )\S+",
        r"(?<=://)[^/@\s]+(?=@)",  # who logs in, and how
        # base64, also for URLs: capitals, small letters and digits; without digits only where it is no path
        r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Z])(?=[A-Za-z0-9+/_-]*[a-z])"
        r"[A-Za-z0-9+/_-]{40,}={0,2}",
        r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+_-]*[A-Z])(?=[A-Za-z0-9+_-]*[a-z])[A-Za-z0-9+_-]{40,}={0,2}",
        r"(?<![A-Za-z0-9])(?=[a-z]*[2-7])[a-z2-7]{32,}(?![A-Za-z0-9])",  # base32, as in join tokens
    )
)
_KEYS = r"(?:api|access|mix|link|identity|signing)[_-]?key"
_CALLED = rf"(?:secret|token|passw|pwd|passphrase|credential|private|{_KEYS})"
SECRET_NAME = re.compile(rf"{_CALLED}|_key$", re.IGNORECASE)
"""Of a field or setting. A field that is called `key` says of which setting something is."""
SAID = re.compile(
    rf"""(?<![\w.-])(?P<name>[\w.-]{{0,80}}(?:{_CALLED}|_key)[\w.-]{{0,80}})(?P<quote>\\?["']?)(?P<is>\s*=\s*|\s*(?<=["']):\s*|:\s+)"""
    r"""(?P<value>\\?"(?:[^"\\]|\\[^"])*\\?"|'[^']*'|[^\s,;"'}\])]+)""",
    re.IGNORECASE,
)
"""`token=...`, `"password": "..."` in a text."""

_QUAD = r"(?:\d{1,3}\.){3}\d{1,3}"
_V4 = rf"(?<![\d.]){_QUAD}(?![\d.]*\d)"
_V6 = (
    rf"(?<![0-9A-Za-z:.])(?:[0-9a-fA-F]{{0,4}}:){{2,8}}(?:{_QUAD}|[0-9a-fA-F]{{0,4}})"
    r"(?:%\w+(?:[.-]\w+)*)?(?![0-9A-Za-z:]|\.\d)"
)
ADDRESS = re.compile(
    rf"\[(?P<v6>{_V6})\]|(?i:%5B)(?P<quoted>[0-9a-fA-F:.]{{2,45}})(?i:%5D)|(?P<bare>{_V6})|(?P<v4>{_V4})"
)
NAME_WITH_PORT = re.compile(
    r"(?:(?<=//)|(?<=@)|(?<![\w.@/-]))"
    r"(?P<name>(?!host-\d)[A-Za-z0-9_](?:[A-Za-z0-9_-]*\.)+(?!py:)[A-Za-z][A-Za-z0-9-]*\.?)"
    r"(?=:\d{1,5}(?!\d|\.\d))"
)
"""A name with dots and a port is a host, though nobody has told of it; `file.py:12` is none."""
PORT = re.compile(r"(host-\d+):(\d{1,5})(?!\d)")

_HOMES = r"/(?:(?:var|usr|export)/)?home|/Users"
HOME = re.compile(rf"(?P<homes>{_HOMES})/(?P<user>[^/\s\"'`:,;)]+)")
HOME_PATH = re.compile(rf"(?P<homes>{_HOMES})/(?P<user>[^/]+)")
"""Of a text that is a path, and may have blanks in it."""


def canonical(text: str) -> str:
    """The same for all ways to write an IP address, also those of IPv4 in IPv6; empty for what is none."""
    bare = text.partition("%")[0]
    octets = bare.split(".")
    if len(octets) == 4 and all(octet.isdigit() for octet in octets):
        bare = ".".join(str(int(octet)) for octet in octets)
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def words(names: list[str]) -> re.Pattern[str] | None:
    """Any of them, in capitals or not, where it is not a part of something longer."""
    if not names:
        return None
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.IGNORECASE)
