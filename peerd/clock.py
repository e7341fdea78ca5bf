"""Time is handed in: cores take `now`, shells read it here.

All times inside the daemon are seconds of a monotonic clock. Wall-clock time appears only in
certificates, logs and epochs, on which peers must agree.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds, monotonic, from an arbitrary origin."""

monotonic: Clock = time.monotonic
"""The clock that asyncio's and uvloop's timers run on."""
wall: Clock = time.time
"""Unix time: what an epoch is counted from."""


def earliest(*deadlines: float | None) -> float | None:
    """The first of several deadlines; None where nothing is due."""
    known = [deadline for deadline in deadlines if deadline is not None]
    return min(known) if known else None


def next_tick(last: int, now: float, interval: float) -> int:
    """The number of the next multiple of `interval` after Unix time `now`, and after tick `last`: a timer may
    end a moment too soon. A clock that was set back by more than one is followed."""
    tick = math.floor(now / interval) + 1
    return last + 1 if tick == last else tick
