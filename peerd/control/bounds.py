"""How much is answered at a time: of each caller, and of all together.

A caller is a client certificate, whatever number of connections it comes by. Streams that stay open and calls
that are answered at once are counted apart: who watches with all that it may can still ask.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from peerd.errors import BusyError

STREAMS = 256
"""Of one certificate: 200 terminals with `peerctl status --watch`, and some more."""
CALLS = 256
"""Of one certificate: as many may ask at the same moment."""
IN_ALL = 2_048
"""Over one way in: what four certificates may have."""
READING = 16
"""Requests of one caller that are read at a time; more wait. Each may have 2 MiB."""


@dataclass(slots=True)
class Held:
    """By one caller."""

    streams: int = 0
    calls: int = 0
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READING))


class Bounds:
    """Of one way in: TCP and the Unix socket have their own, so that neither shuts out the other."""

    def __init__(self, streams: int = STREAMS, calls: int = CALLS, in_all: int = IN_ALL) -> None:
        self._streams = streams
        self._calls = calls
        self._in_all = in_all
        self._open = 0
        self._held: dict[bytes, Held] = {}

    @contextlib.contextmanager
    def taken(self, caller: bytes, *, stream: bool) -> Iterator[Held]:
        """BusyError where no more is answered."""
        held = self._held.get(caller) or Held()
        self._refuse_more(held, stream)
        self._held[caller] = held
        self._count(held, stream, 1)
        try:
            yield held
        finally:
            self._count(held, stream, -1)
            if not held.streams + held.calls:
                del self._held[caller]

    def _count(self, held: Held, stream: bool, by: int) -> None:
        self._open += by
        if stream:
            held.streams += by
        else:
            held.calls += by

    def _refuse_more(self, held: Held, stream: bool) -> None:
        if stream and held.streams >= self._streams:
            raise BusyError(
                f"this caller has {self._streams} streams open, and may have no more: end some "
                "(status --watch, logs -f, events -f, top, dashboard), or use another operator's certificate"
            )
        if not stream and held.calls >= self._calls:
            raise BusyError(
                f"{self._calls} calls of this caller are being answered, and no more at a time: "
                "ask again later, or use another operator's certificate"
            )
        if self._open >= self._in_all:
            raise BusyError(
                f"{self._in_all} calls and streams of all callers together are open here, and no more at a "
                "time: ask again later, or at the peer's Unix socket"
            )
