"""Route flap damping (RFC 2439) of peers that come and go: after too many losses one has to stay a while
before it counts again. Sans-IO.

Each loss adds 1 to a penalty that halves every `half_life` seconds. At `limit` the peer is held back,
until the penalty is below half of that: the two thresholds keep it from being let in and out again by one
loss more or less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

REUSE = 0.5
"""Of the limit: below it a peer that is held back is let in again."""
CEILING = 2.0
"""Of the limit: no penalty is higher. So nobody is held back for more than two half-lives after its last
loss, however often it was lost before (the maximum hold time of RFC 2439, section 4.2)."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """Of one peer."""

    value: float = 0.0
    at: float = 0.0
    """When `value` was right; it decays from then on."""
    until: float | None = None
    """How long it is held back; None: not at all."""


UNBLEMISHED = Penalty()


@dataclass(frozen=True, slots=True)
class Damping:
    limit: float
    half_life: float
    """Seconds."""

    def after_loss(self, before: Penalty, now: float) -> Penalty:
        """The penalty of a peer that is lost once more."""
        decayed = before.value * 0.5 ** (max(now - before.at, 0.0) / self.half_life)
        value = min(decayed + 1.0, CEILING * self.limit)
        held = before.until is not None and now < before.until
        if not held and value < self.limit:
            return Penalty(value, now)
        return Penalty(value, now, now + self.half_life * math.log2(value / (REUSE * self.limit)))
