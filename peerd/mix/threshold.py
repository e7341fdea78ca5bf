"""Threshold mixing: packets leave in whole batches (Chaum, 1981; Serjantov, Dingledine and Syverson,
"From a Trickle to a Flood", 2002, section 3).

Who has to wait for company waits for ever when nobody comes. So a batch that is not full some time
after its first packet is filled up with cover: an observer sees whole batches and nothing else. How
much of one was cover shows only in its age, and to the next peers.
"""

from __future__ import annotations

import math
import random

from peerd.mix.held import Shuffled
from peerd.mix.port import CoverWanted, Departure

_COVER = CoverWanted()


class Threshold(Shuffled):
    """`size` packets a batch; `patience` in seconds, 0.0: waits for ever.

    A batch is the longest held, so that what came too late for one is in the next. One batch leaves
    by one `due`; while another is full the deadline lies in the past.

    A batch never needs more packets than the limit allows: it would never fill.
    """

    name = "threshold"

    def __init__(self, size: int, patience: float, limit: int, rng: random.Random) -> None:
        super().__init__(limit, rng)
        self._size = min(size, limit)
        self._patience = patience

    def due(self, now: float) -> list[Departure]:
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return []
        batch: list[Departure] = list(self._held[: self._size])
        del self._held[: self._size]
        self.entropy_bits = math.log2(len(batch))  # cover is no candidate: it never came in
        batch += [_COVER] * (self._size - len(batch))
        self._rng.shuffle(batch)
        return batch

    def next_deadline(self) -> float | None:
        if len(self._held) >= self._size:
            return self._held[self._size - 1].arrived
        if self._held and self._patience > 0.0:
            return self._held[0].arrived + self._patience
        return None
