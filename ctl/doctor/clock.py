"""Whether anything keeps this host's clock right: asked of the kernel, which every NTP client tells."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from ctl.doctor.finding import Finding, ok, warn

TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""
TIMEX_BYTES = 512
"""More than `struct timex` has anywhere; zero, it changes nothing."""


def clock_state() -> int | None:
    """As adjtimex(2) returns it; None where it cannot be asked: no Linux, or a container that forbids it."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    state = -1 if adjtimex is None else int(adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)))
    return None if state < 0 else state


def check_clock(about: str, state: int | None) -> Iterator[Finding]:
    """`state`: `clock_state()`."""
    if state == TIME_ERROR:
        yield warn(
            about,
            "clock",
            "nothing keeps this host's clock right, says the kernel",
            "run NTP (timedatectl set-ntp true, or chrony): epochs and certificates go by the clock",
        )
    elif state is not None:
        yield ok(about, "clock", "this host's clock is kept right (NTP)")
