"""The wires of a world: what is on them takes time, may get lost, and is counted into one digest."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from peerd.sim.timeline import Timeline

HALF = 0.5


class Wires(Timeline):
    """`latency` is the mean of a link's delay in seconds, which is uniform between half and one and a half
    times that, in order on every link as TCP has it. `loss` is the share of cells that get lost while
    their link looks alive. `tamper` and `drop` may be replaced: packet on a link -> packets that really
    arrive; whether the packet from one end to the other (their numbers) gets lost.
    """

    def __init__(self, seed: int, latency: float, loss: float) -> None:
        super().__init__()
        self.rng = random.Random(seed)  # noqa: S311 - a world is its seed
        self.latency = latency
        self.loss = loss
        self.tamper: Callable[[bytes], list[bytes]] = lambda packet: [packet]
        self.drop: Callable[[int, int, bytes], bool] = lambda _source, _target, _packet: False
        self._digest = hashlib.blake2b(digest_size=16)
        self._last_arrival: dict[tuple[int, int], float] = {}

    def digest(self) -> str:
        """Of every packet that was handed to a link: when, between whom, its bytes."""
        return self._digest.hexdigest()

    def carry(
        self,
        source: int,
        target: int,
        packet: bytes,
        arrive: Callable[[bytes], None],
        *,
        surely: bool = False,
    ) -> None:
        """From one end to the other, unless it gets lost; both by their numbers. `surely`: `loss` is not for
        this one."""
        self._digest.update(b"%.9f %d %d " % (self.now, source, target) + packet)
        if self.loss and not surely and self.rng.random() < self.loss:
            return
        if self.drop(source, target, packet):
            return
        link = (source, target)
        for arriving in self.tamper(packet):
            arrival = max(self.now + self.delay(), self._last_arrival.get(link, 0.0))
            self._last_arrival[link] = arrival
            self.at(arrival, lambda arriving=arriving: arrive(arriving))  # type: ignore[misc]

    def delay(self) -> float:
        """Of one way over a link, drawn anew."""
        return self.latency * (HALF + self.rng.random())
