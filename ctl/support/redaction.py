"""What a stranger who is to help may see: no secrets, and no addresses unless they are wanted.

The same address is replaced by the same word everywhere, so that it can still be followed. Only values are
changed: whatever a peer says, the data keep their shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctl.support.patterns import (
    ADDRESS,
    HOME,
    HOME_PATH,
    NAME_WITH_PORT,
    PORT,
    SAID,
    SECRET_NAME,
    SECRETS,
    canonical,
    words,
)

REDACTED = "[redacted]"
LEFT_OUT = (
    "private keys, certificates, bundles, replay tags and models: nothing of such a file is here",
    "join tokens, PEM blocks, long hexadecimal and base64 strings, what is named like a secret: replaced by "
    "[redacted]",
    "round trips of single messages (only their quantiles are there) and packet traces",
    "metrics of single neighbours, should they be turned on",
    "home folders and the name of this host: replaced by ~, user-1, user-2, ... and this-host",
)
_IDS = frozenset({"peer_id", "run_id", "initial_run", "initial_sha256", "model_digest", "sha256"})
"""Names of fields whose long hexadecimal values say nothing that all peers do not know."""
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")


class Redactor:
    """`hosts`: names that are addresses, too, as they stand in endpoints. `peers`: names that stay; a host of
    the same name is hidden only with its port. Counts what it has replaced."""

    def __init__(
        self,
        include_addresses: bool,
        hosts: frozenset[str],
        home: Path,
        this_host: str,
        peers: frozenset[str] = frozenset(),
    ) -> None:
        self._include = include_addresses
        self._known: dict[str, str] = {}
        self._ports: dict[str, str] = {}
        self._users: dict[str, str] = {}
        self.counts = {"secrets": 0, "addresses": 0, "home folders": 0, "names of this host": 0}
        self._home = words([str(home)] if len(str(home)) > 2 else [])  # not "/"
        self._own = words([this_host] if len(this_host) > 2 and this_host not in peers else [])
        named = [host.rstrip(".") for host in hosts if not canonical(host) and host.rstrip(".")]
        self._hosts = words([host for host in named if host not in peers])
        self._like_peers = [
            re.compile(rf"(?<![\w.-]){re.escape(host)}(?=:\d)", re.IGNORECASE)
            for host in named
            if host in peers
        ]

    def data(self, value: Any, name: str = "") -> Any:
        """Plain data of the same shape. `name`: of the field that it is the value of."""
        return self._data(value, name, bool(SECRET_NAME.search(name)))

    def _data(self, value: Any, name: str, secret: bool) -> Any:
        """`secret`: what it is in has the name of one."""
        match value:
            case str():
                return self._secret() if secret and value else self._field(name, value)
            case Mapping():
                return {
                    self.text(str(key)): self._data(
                        item, str(key), secret or bool(SECRET_NAME.search(str(key)))
                    )
                    for key, item in value.items()
                }
            case list() | tuple():
                return [self._data(item, name, secret) for item in value]
            case bytes():
                return self._secret()
        return value

    def _field(self, name: str, value: str) -> str:
        if name in _IDS and _ID.fullmatch(value):
            return value
        if value.startswith("/"):
            value = HOME_PATH.sub(self._user, self._of_home(value))
        return self.text(value)

    def text(self, value: str) -> str:
        """Free text, of one line or many."""
        for pattern in SECRETS:
            value = pattern.sub(lambda _: self._secret(), value)
        value = SAID.sub(self._said, value)
        value = HOME.sub(self._user, self._of_home(value))
        if not self._include:
            value = ADDRESS.sub(self._address, value)
            if self._hosts is not None:
                value = self._hosts.sub(self._host_name, value)
            for pattern in (*self._like_peers, NAME_WITH_PORT):
                value = pattern.sub(self._host_name, value)
            value = PORT.sub(self._port, value)
        return self._own.sub(self._own_name, value) if self._own is not None else value

    def _secret(self) -> str:
        self.counts["secrets"] += 1
        return REDACTED

    def _said(self, match: re.Match[str]) -> str:
        if REDACTED in match["value"] or not match["value"].strip("\\\"'"):
            return match[0]
        return f"{match['name']}{match['quote']}{match['is']}{self._secret()}"

    def _of_home(self, value: str) -> str:
        return self._home.sub(self._own_home, value) if self._home is not None else value

    def _own_home(self, _match: re.Match[str]) -> str:
        self.counts["home folders"] += 1
        return "~"

    def _user(self, match: re.Match[str]) -> str:
        if re.fullmatch(r"user-\d+", match["user"]):
            return match[0]
        self.counts["home folders"] += 1
        user = self._users.setdefault(match["user"], f"user-{len(self._users) + 1}")
        return f"{match['homes']}/{user}"

    def _address(self, match: re.Match[str]) -> str:
        address = canonical(match["v6"] or match["quoted"] or match["bare"] or match["v4"])
        return self._numbered(address) if address else match[0]  # 1.2.3.4567, 10:15:30

    def _host_name(self, match: re.Match[str]) -> str:
        return self._numbered(match[0].rstrip(".").lower())

    def _numbered(self, host: str) -> str:
        self.counts["addresses"] += 1
        return self._known.setdefault(host, f"host-{len(self._known) + 1}")

    def _port(self, match: re.Match[str]) -> str:
        """One behind an address goes with it."""
        port = self._ports.setdefault(match[2], f"port-{len(self._ports) + 1}")
        return f"{match[1]}:{port}"

    def _own_name(self, _match: re.Match[str]) -> str:
        self.counts["names of this host"] += 1
        return "this-host"


def metrics(text: str) -> str:
    """A scrape without what it says of single neighbours."""
    return "".join(line for line in text.splitlines(keepends=True) if "peerd_neighbour_" not in line)
