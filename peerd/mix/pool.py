"""Dynamic pool mixing: at every tick a part of the pool leaves (Cottrell, "Mixmaster and Remailer
Attacks", 1994; Serjantov, Dingledine and Syverson, "From a Trickle to a Flood", 2002, section 5.3).

What stays makes the batches of several intervals overlap: a packet may have come in at any of them,
with a probability that falls from tick to tick. The pool's minimum never leaves without new packets:
where traffic ends, so many packets stay behind. Cover keeps it moving.
"""

from __future__ import annotations

import math
import random

from peerd.mix.timed import Timed


class Pool(Timed):
    """Of n held, min(n - minimum, floor(n * rate)) leave, and at least 1 where n exceeds the minimum.

    The minimum is below the limit: a pool that kept all it may hold would never send.
    """

    name = "pool"

    def __init__(
        self, interval: float, minimum: int, rate: float, limit: int, rng: random.Random, now: float
    ) -> None:
        super().__init__(interval, limit, rng, now)
        self._minimum = min(minimum, limit - 1)
        self._rate = rate

    def _leaving(self, held: int) -> int:
        if held <= self._minimum:
            return 0
        return max(min(held - self._minimum, math.floor(held * self._rate)), 1)
