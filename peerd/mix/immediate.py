"""No mixing: packets leave at once, in order of arrival. For experiments, NO ANONYMITY at this hop."""

from __future__ import annotations

from peerd.mix.held import Held
from peerd.mix.port import Departure


class Immediate(Held):
    """Whatever delay was asked for is ignored. Tells an observer everything: 0 bits."""

    name = "none"

    def due(self, now: float) -> list[Departure]:
        if not self._held or self._held[0].arrived > now:
            return []
        departures: list[Departure] = list(self._held)
        self._held.clear()
        return departures

    def next_deadline(self) -> float | None:
        return self._held[0].arrived if self._held else None
