"""Freezing a model fragment by fragment over the last batches of a round, so that exchange and training
overlap.

What is frozen keeps its values while the rest still trains, and is sent at once. That is FreezeOut (Brock et
al. 2017) turned to another end: not to save work, but to fill the wait. Unlike there the order is drawn by
each peer for itself and in secret, anew each round. If all peers froze front to back, the index of a fragment
and the time when it comes would give away its sender's pace, and so link fragments.

So two runs with the same seed agree but for what was frozen when; with `streaming` 0 they are the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterable


class Freezing:
    """Of one round: these fragments, `total` batches, the last share `streaming` of which freezes."""

    def __init__(
        self, fragments: Iterable[int], total: int, streaming: float, rng: random.Random | None = None
    ) -> None:
        """`rng`: for tests; the order must be a secret."""
        self._order = list(fragments)
        (rng or random.SystemRandom()).shuffle(self._order)
        self._total = total
        self._begins = total * (1.0 - streaming)  # with 0 all freeze after the last batch
        self._frozen = 0

    def after(self, batches: int) -> list[int]:
        """The fragments to freeze when so many batches are done: in equal steps, all after the last."""
        if batches >= self._total:
            target = len(self._order)
        elif batches <= self._begins:
            target = 0
        else:
            part = (batches - self._begins) / (self._total - self._begins)
            target = int(len(self._order) * part)
        new = self._order[self._frozen : target]
        self._frozen = max(self._frozen, target)
        return new
