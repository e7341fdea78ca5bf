"""How often somebody may try in vain. Sans-IO.

Nobody guesses a token; the limit keeps strangers from spending this peer's processor time on handshakes.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

PER_SOURCE = 10
TOTAL = 300
WINDOW_SECONDS = 60.0
"""In which so many failures are forgotten again."""
MAX_SOURCES = 1024


class _Failures:
    """A leaky bucket: `limit` at once, and so many more in every window."""

    __slots__ = ("_at", "_count")

    def __init__(self) -> None:
        self._count = 0.0
        self._at = 0.0

    def count(self, limit: int, now: float) -> float:
        passed = max(0.0, now - self._at)
        self._count = max(0.0, self._count - passed * limit / WINDOW_SECONDS)
        self._at = now
        return self._count

    def add(self, limit: int, now: float) -> None:
        self._count = self.count(limit, now) + 1.0


class Attempts:
    """Failures by source address (IPv6: by its /64) and in total; `now` is a monotonic clock's."""

    def __init__(self) -> None:
        self._total = _Failures()
        self._sources: OrderedDict[str, _Failures] = OrderedDict()

    def refuses(self, source: str, now: float) -> bool:
        """Whether a connection from there is closed unheard."""
        if self._total.count(TOTAL, now) > TOTAL - 1:
            return True
        known = self._sources.get(_network(source))
        return known is not None and known.count(PER_SOURCE, now) > PER_SOURCE - 1

    def failed(self, source: str, now: float) -> None:
        """Something from there was in vain. The sources that failed last are remembered."""
        self._total.add(TOTAL, now)
        network = _network(source)
        known = self._sources.pop(network, None) or _Failures()
        known.add(PER_SOURCE, now)
        self._sources[network] = known
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)


def _network(source: str) -> str:
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
