"""Names of hosts that must not leave with a bundle: whoever names one, a peer, a context, a configuration or
a peer's bundle, it is hidden wherever it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctl.contexts import Contexts, Endpoint
from ctl.support.parts import Collected
from peerd.config import parse_address
from peerd.errors import PeerdError

_ADDRESSES = (".listen", ".advertise")
"""How keys end whose values are host:port."""
_NAMES = "metrics.page_hosts"


def names(
    endpoints: Sequence[Endpoint],
    contexts: Contexts | None,
    collected: Sequence[Collected],
    configurations: Iterable[Mapping[str, Any]],
    state_dirs: Iterable[Path],
) -> frozenset[str]:
    """`configurations`: plain values by section and key."""
    every = [*endpoints, *(contexts.endpoints.values() if contexts is not None else ())]
    found = {_host(endpoint.address) for endpoint in every if not endpoint.local}
    for one in collected:
        found.update(_of_peer(one.files))
    for configuration in configurations:
        found.update(_of_configuration(configuration))
    for folder in state_dirs:
        found.update(_of_bundle(folder))
    return frozenset(found - {""})


def _of_peer(files: Mapping[str, Any]) -> Iterator[str]:
    for peer in files.get("peers.json", ()):
        yield _host(str(peer.get("address", "")))
    status = files.get("status.json", {})
    yield from (_host(str(status.get(f"{key}_address", ""))) for key in ("link", "metrics"))
    for key, setting in files.get("config-in-force.json", {}).get("settings", {}).items():
        for value in (setting.get("value"), setting.get("default")):
            yield from _of_setting(key, value)


def _of_configuration(sections: Mapping[str, Any]) -> Iterator[str]:
    for section, inner in sections.items():
        if isinstance(inner, Mapping):
            for key, value in inner.items():
                yield from _of_setting(f"{section}.{key}", value)


def _of_setting(key: str, value: Any) -> Iterator[str]:
    if key.endswith(_ADDRESSES) and isinstance(value, str):
        yield _host(value)
    elif key == _NAMES and isinstance(value, list | tuple):
        yield from (str(name) for name in value)


def _of_bundle(folder: Path) -> Iterator[str]:
    from peerd.membership.bundle import FILE, Bundle, descriptors_in  # not for peers on other hosts

    try:
        records = Bundle.load(folder / FILE).records
        addresses = [address for one in descriptors_in(records) for address in one.addresses]
    except PeerdError:
        return  # no bundle, or one that cannot be read: doctor says so
    yield from map(_host, addresses)


def _host(address: str) -> str:
    try:
        return parse_address(address)[0]
    except PeerdError:
        return ""
