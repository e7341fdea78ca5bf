"""An Ethernet switch in user space, between the TAP devices of the hosts."""

from __future__ import annotations

import heapq
import itertools
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from lab.link import Link

MTU = 1500
_FRAME_MAX = MTU + 64
# Frames read from one host before the others get their turn.
_BATCH = 64
LATE_SECONDS = 0.005


@dataclass(frozen=True)
class Port:
    """A host as the switch sees it: `fd` is its TAP device, opened without blocking."""

    host: str
    mac: bytes
    fd: int


class Switch:
    """Carries unicast frames: hosts know each other's addresses without ARP, so nothing is broadcast."""

    def __init__(self, ports: Iterable[Port]) -> None:
        ports = list(ports)
        self.links = {(a.host, b.host): Link(a.host, b.host) for a in ports for b in ports if a is not b}
        self.late = 0
        self.latest = 0.0
        self._routes: dict[int, dict[bytes, tuple[Link, int]]] = {
            a.fd: {b.mac: (self.links[a.host, b.host], b.fd) for b in ports if a is not b} for a in ports
        }
        # (when, number, link, fd, frame); the number keeps frames of the same time in order
        self._flying: list[tuple[float, int, Link, int, bytes]] = []
        self._numbers = itertools.count()

    @property
    def in_flight(self) -> int:
        return len(self._flying)

    def take(self, fd: int) -> None:
        """Read waiting frames of the host with this TAP device. Raises OSError when the device is gone."""
        routes = self._routes[fd]
        for _ in range(_BATCH):
            try:
                frame = os.read(fd, _FRAME_MAX)
            except BlockingIOError:
                return
            if (route := routes.get(frame[:6])) is None:
                continue  # multicast that the kernel sends by itself
            link, target = route
            if (when := link.arrival(time.monotonic())) is not None:
                heapq.heappush(self._flying, (when, next(self._numbers), link, target, frame))

    def next_in(self) -> float | None:
        """Seconds until a frame must be delivered, 0.0 when one is due, None when none is on its way."""
        return max(self._flying[0][0] - time.monotonic(), 0.0) if self._flying else None

    def deliver(self) -> None:
        """Hand over the frames that are due. Those of a link that was cut meanwhile are gone."""
        now = time.monotonic()
        while self._flying and self._flying[0][0] <= now:
            when, _, link, target, frame = heapq.heappop(self._flying)
            if not link.up:
                link.cut += 1
                continue
            try:
                os.write(target, frame)
            except OSError:  # a program took the interface down
                link.refused += 1
                continue
            link.delivered += 1
            self.late += now - when >= LATE_SECONDS
            self.latest = max(self.latest, now - when)
