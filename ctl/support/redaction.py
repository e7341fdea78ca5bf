"""What a stranger who is to help may see: no secrets, and no addresses unless they are wanted.

The same address is replaced by the same word everywhere, so that it can still be followed. Only values are
changed: whatever a peer says, the data keep their shape.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REDACTED = "[redacted]"
LEFT_OUT = (
    "private keys, certificates, bundles, replay tags and models: no such file is read",
    "join tokens, PEM blocks, long hexadecimal and base64 strings: replaced by [redacted]",
    "round trips of single messages (only their quantiles are there) and packet traces",
    "metrics of single neighbours, should they be turned on",
    "the home folder and the name of this host: replaced by ~ and this-host",
)
_PEM = re.compile(r"-----BEGIN .*?(?:-----END[^\n]*|\Z)", re.DOTALL)
_TOKEN = re.compile(r"peerd-join\.[^\s\"']+")
_LONG_HEX = re.compile(r"(?<![0-9a-zA-Z])[0-9a-fA-F]{32,}(?![0-9a-zA-Z])")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Z])"
                     r"(?=[A-Za-z0-9+/_-]*[a-z])[A-Za-z0-9+/_-]{40,}={0,2}")  # fmt: skip
_V4 = r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"
_V6 = r"(?<![0-9A-Za-z:.])(?:[0-9a-fA-F]{0,4}:){2,8}[0-9a-fA-F]{0,4}(?:%\w+)?(?![0-9A-Za-z:])"
_ADDRESS = re.compile(rf"(?P<v4>{_V4})|\[(?P<v6>{_V6})\]|(?P<bare>{_V6})")
_SECRET_NAME = re.compile(r"secret|token|passw|passphrase|credential|private|(?:^|_)key$", re.IGNORECASE)
_IDS = frozenset({"peer_id", "run_id", "initial_run", "initial_sha256", "model_digest", "sha256"})
"""Names of fields whose long hexadecimal values say nothing that all peers do not know."""
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")


class Redactor:
    """`hosts`: names that are addresses, too, as they stand in endpoints. Counts what it has replaced."""

    def __init__(self, include_addresses: bool, hosts: frozenset[str], home: Path, this_host: str) -> None:
        self._include = include_addresses
        self._known: dict[str, str] = {}
        self._ports: dict[str, str] = {}
        self.counts = {"secrets": 0, "addresses": 0, "names of this host": 0}
        names = sorted((host for host in hosts if not _is_ip(host)), key=len, reverse=True)
        self._hosts = _words(names)
        own = [name for name in (str(home), this_host) if len(name) > 2]  # not "/"
        self._own = _words(own)
        self._home = str(home)

    def data(self, value: Any, name: str = "") -> Any:
        """Plain data of the same shape. `name`: of the field that it is the value of."""
        match value:
            case str():
                return self._field(name, value)
            case Mapping():
                return {self.text(str(key)): self.data(item, str(key)) for key, item in value.items()}
            case list() | tuple():
                return [self.data(item, name) for item in value]
            case bytes():
                return self._secret()
        return value

    def _field(self, name: str, value: str) -> str:
        if value and _SECRET_NAME.search(name):
            return self._secret()
        if name in _IDS and _ID.fullmatch(value):
            return value
        return self.text(value)

    def text(self, value: str) -> str:
        """Free text, of one line or many."""
        for pattern in (_PEM, _TOKEN, _LONG_HEX, _BASE64):
            value = pattern.sub(lambda _: self._secret(), value)
        if not self._include:
            value = _ADDRESS.sub(self._address, value)
            value = self._hosts.sub(self._host_name, value) if self._hosts else value
            value = self._with_ports(value)
        return self._own.sub(self._own_name, value) if self._own else value

    def _secret(self) -> str:
        self.counts["secrets"] += 1
        return REDACTED

    def _address(self, match: re.Match[str]) -> str:
        text = match["v4"] or match["v6"] or match["bare"]
        if not _is_ip(text.partition("%")[0]):  # 1.2.3.4567, 10:15:30
            return match[0]
        return self._numbered(text)

    def _host_name(self, match: re.Match[str]) -> str:
        return self._numbered(match[0])

    def _numbered(self, host: str) -> str:
        self.counts["addresses"] += 1
        return self._known.setdefault(host, f"host-{len(self._known) + 1}")

    def _with_ports(self, value: str) -> str:
        """A port behind an address goes with it."""

        def numbered(match: re.Match[str]) -> str:
            port = self._ports.setdefault(match[2], f"port-{len(self._ports) + 1}")
            return f"{match[1]}:{port}"

        return re.sub(r"(host-\d+):(\d{1,5})(?!\d)", numbered, value)

    def _own_name(self, match: re.Match[str]) -> str:
        self.counts["names of this host"] += 1
        return "~" if match[0] == self._home else "this-host"


def _words(names: list[str]) -> re.Pattern[str] | None:
    """Any of them, where it is not a part of something longer."""
    if not names:
        return None
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def metrics(text: str) -> str:
    """A scrape without what it says of single neighbours."""
    return "".join(line for line in text.splitlines(keepends=True) if "peerd_neighbour_" not in line)
