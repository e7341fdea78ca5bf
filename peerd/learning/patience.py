"""How long to wait for fragments of which nobody knows whether they come. Sans-IO.

Where parts are drawn (`dealing`), a round has enough when all is there that is sure, which may be two thirds
of what was sent. Fragments come as their senders have trained: to close the round then would leave out the
slowest third of them, in every round, and their work would be lost. So the others get as long again as it
took from the first fragment to enough of them: peers that are not much slower than the rest are heard, and
one that is holds up nobody for long.
"""

from __future__ import annotations

from collections.abc import Collection


class Patience:
    """`most`: seconds."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._first: dict[int, float] = {}
        self._enough: dict[int, float] = {}
        """When the first fragment of a round came, and when there were enough."""

    def came(self, round: int, now: float, kept: Collection[int], *, enough: bool) -> None:
        """A fragment of that round. kept: rounds that have not been closed or thrown away."""
        self._first.setdefault(round, now)
        if enough:
            self._enough.setdefault(round, now)
        for times in (self._first, self._enough):
            for gone in [number for number in times if number not in kept]:
                del times[gone]

    def ends_at(self, round: int, now: float) -> float:
        """With that round, of which there are enough."""
        enough = self._enough.setdefault(round, now)
        return enough + min(enough - self._first.get(round, enough), self._most)
