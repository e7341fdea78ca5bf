"""What has arrived, by round: for the round that is collected now, and for a few later ones.

Peers are not in step, and one that comes late does not know in which round the others are: fragments tell.
They name no sender, so all that can be counted is how many there are for each index.

A fragment names its round, and a stranger wrote it, so what is kept is bounded: the present round and at
most `AHEAD` later ones. Any later round gets a place when its first fragment comes. Where none is free, one
gives way: first a round that the others have left behind (which gets no place itself), then the one with the
least support (of several, the farthest), but not the next round: it is what a peer in step needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from peerd.learning.aggregate import Mean
from peerd.learning.fragment import Fragment, Layout
from peerd.types import DropReason, RunSpec

AHEAD = 3
"""Later rounds of which fragments are kept."""


def stale_rounds(spec: RunSpec) -> int:
    """How many rounds late a fragment may be and still count. 0: none may."""
    return spec.stale_rounds if spec.stale == "use" else 0


class Others:
    """The other peers that take part: when they begin to contribute. One number each, 0: it listens."""

    def __init__(self, contributes_from: Iterable[int]) -> None:
        numbers = list(contributes_from)
        self._firsts = sorted(number for number in numbers if number > 0)
        self.total = len(numbers)

    @property
    def contributors(self) -> int:
        """Those who contribute or have said when they will."""
        return len(self._firsts)

    def contributing(self, round: int) -> int:
        """Those whose fragments of that round are expected."""
        return bisect_right(self._firsts, round)


class Collected:
    """Of one run on one peer. `round`: the one that is collected now. `members`: as for `set_others`."""

    def __init__(self, spec: RunSpec, layout: Layout, others: Others, round: int, members: int = 0) -> None:
        self.round = round
        self.others = others
        self._spec = spec
        self._layout = layout
        self._means: dict[int, Mean] = {}
        self._limit = max(others.total, members)

    @property
    def rounds(self) -> list[int]:
        """Those of which anything is kept, in order."""
        return sorted(self._means)

    def set_others(self, others: Others, members: int = 0) -> None:
        """What is expected follows at once. What an index accepts is a matter of how many other `members`
        the network has, if that is more: peers that come or come back may be heard before they are seen.
        And it never shrinks, or a dead peer's fragments would displace a live one's."""
        self.others = others
        self._limit = max(self._limit, others.total, members)
        for mean in self._means.values():
            mean.limit = self._limit

    def expected(self, round: int) -> int:
        """Fragments of that round, from all others together."""
        return self.others.contributing(round) * self._layout.fragments

    def received(self, round: int) -> int:
        """Fragments of that round, at most one from each contributor for each index."""
        mean = self._means.get(round)
        return 0 if mean is None else mean.received(self.others.contributing(round))

    def cohort_round(self) -> int | None:
        """The round that the others have reached, if it is a later one: the last for which a quorum's
        fragments are there, of it or of rounds after it. Who has sent of two rounds counts twice; but if
        only the fullest round counted, two halves, one of them spread over two rounds, might both wait."""
        support = 0
        for number in reversed(self.rounds):
            if number <= self.round:
                break
            support += self.received(number)
            expected = self.expected(number)
            if expected and support >= self._spec.quorum * expected:
                return number
        return None

    def add(self, fragment: Fragment) -> DropReason | int:
        """Count it in, or say why not. An integer: so many fragments of another round were thrown away to
        make room for it."""
        if fragment.run != self._spec.wire_id:
            return DropReason.WRONG_RUN
        if fragment.round > self._spec.rounds:
            return DropReason.ROUND_AHEAD
        age = max(self.round - fragment.round, 0)
        if fragment.round < 1 or age > stale_rounds(self._spec) or self.round > self._spec.rounds:
            return DropReason.ROUND_PAST
        number = fragment.round + age
        known = self._means.get(number)
        mean = Mean(self._layout, self._limit) if known is None else known
        refused = mean.add(fragment.index, fragment.values, age)
        if refused is not None:
            return refused
        room = self._make_room(number) if known is None else 0
        if not isinstance(room, DropReason):
            self._means[number] = mean
        return room

    def take(self) -> Mean:
        """The mean of the round that is collected; from now on it is the next one."""
        mean = self._means.pop(self.round, None)
        self.round += 1
        return Mean(self._layout, self._limit) if mean is None else mean

    def skip_to(self, round: int) -> int:
        """Collect that round from now on; so many fragments of earlier ones are thrown away."""
        gone = [self._means.pop(number) for number in self.rounds if number < round]
        self.round = round
        return sum(mean.fragments for mean in gone)

    def _make_room(self, number: int) -> DropReason | int:
        """For a round of which there is nothing yet: what `add` returns."""
        later = [number for number in self._means if number > self.round]
        if number == self.round or len(later) < AHEAD:
            return 0
        cohort = self.cohort_round() or self.round
        if number < cohort:
            return DropReason.ROUND_PAST
        victim = min(
            later,
            key=lambda number: (number >= cohort, number == self.round + 1, self.received(number), -number),
        )
        return self._means.pop(victim).fragments
