"""Time is handed in: cores take `now`, shells read it here.

All times inside the daemon are seconds of a monotonic clock. Wall-clock time appears only in
certificates, logs and epochs, on which peers must agree.
"""

from __future__ import annotations

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
