"""What has arrived, by round: for the round that is collected now, and for a few later ones.

Peers are not in step, and one that comes late does not know in which round the others are: fragments tell.
They name no sender, so all that can be counted is how many there are for each index.

A fragment names its round, and a stranger wrote it, so what is kept is bounded: the present round and at
most `AHEAD` later ones. Any later round gets a place when its first fragment comes. Where none is free, one
gives way: first a round that the others have left behind (which gets no place itself), then the one with the
least support (of several, the farthest), but not the next round: it is what a peer in step needs.

Two halves that were apart, a partition healed: why they end in one round. Let N peers contribute; each
expects fragments of N - 1 others, and with the quorum of 1/2 needs those of (N - 1)/2. Let b of them be in
a later round than the a = N - b that are behind, who all get the fragments of those b.

    b >= (N - 1)/2    Those behind see a quorum ahead of them and go there: at once, or, if the a - 1 of
                      their own round are a quorum too, when they have closed it.
    b <  (N - 1)/2    Those behind see none, but a - 1 = N - 1 - b > (N - 1)/2: they have a quorum among
                      themselves and go on, by grace, round by round. Those ahead have b - 1 others in
                      their round and no quorum: they hold until the larger half comes, which finds their
                      fragments waiting. A timeout lets them go a round further; a round by grace is shorter.

So it is one of the two. A quorum above 1/2 may leave both to their timeouts, one below lets both go on apart.
A fragment names no sender, so a member that sends for half the cohort can make others jump; as it can spoil
every mean, too, that takes no new trust.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from peerd.layout import Layout
from peerd.learning.aggregation import Aggregator, make_aggregator
from peerd.learning.base import Slices
from peerd.learning.dealing import copies_of_each, expected_parts, most_parts
from peerd.learning.encoding import Encoding, Float32
from peerd.learning.fragment import Fragment
from peerd.types import DropReason, RunSpec

AHEAD = 3
"""Later rounds of which fragments are kept."""


def stale_rounds(spec: RunSpec) -> int:
    """How many rounds late a fragment may be and still count. 0: none may."""
    return spec.stale_rounds if spec.stale == "use" else 0


class Others:
    """The other peers that take part: when they begin to contribute. One number each, 0: it listens; -n: it
    has finished with round n, before the run's last one, and that is the only round it still gives."""

    def __init__(self, contributes_from: Iterable[int]) -> None:
        numbers = list(contributes_from)
        self._firsts = sorted(number for number in numbers if number > 0)
        self._lasts = sorted(-number for number in numbers if number < 0)
        self.total = len(numbers)

    @property
    def contributors(self) -> int:
        """Those who contribute or have said when they will."""
        return len(self._firsts)

    def contributing(self, round: int) -> int:
        """Those whose fragments of that round are expected."""
        return bisect_right(self._firsts, round) + self._lasts.count(round)

    def present(self, round: int) -> int:
        """Those who have not finished before that round."""
        return self.total - self.ended(round)

    def ended(self, round: int) -> int:
        """Those who have finished before that round."""
        return bisect_left(self._lasts, round)

    def heard_from(self, round: int) -> bool:
        """Whether anybody gives, or will give, fragments of that round or of a later one."""
        return bool(self._firsts) or bisect_left(self._lasts, round) < len(self._lasts)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Of one round."""

    updates: Aggregator
    base: Slices


class Collected:
    """Of one run on one peer. `round`: the one that is collected now. `members`: as for `set_others`.
    `layout`: of the updates, `slices` of the models."""

    def __init__(
        self,
        spec: RunSpec,
        layout: Layout,
        others: Others,
        round: int,
        members: int = 0,
        *,
        encoding: Encoding,
        slices: Layout,
    ) -> None:
        self.round = round
        self.others = others
        self._spec = spec
        self._layout = layout
        self._slices = slices
        self._encoding = encoding
        self._exact = Float32(0)
        self._kept: dict[int, _Kept] = {}
        self._limit = max(others.total, members)
        self.last = Slices(slices)
        """What has come of the model at the end of the run, for who comes too late for its rounds."""

    @property
    def rounds(self) -> list[int]:
        """Those of which anything is kept, in order."""
        return sorted(self._kept)

    @property
    def base(self) -> Slices | None:
        """What has come of the model that the round that is collected starts from."""
        kept = self._kept.get(self.round)
        return None if kept is None else kept.base

    def set_others(self, others: Others, members: int = 0) -> None:
        """What is expected follows at once. What an index accepts is a matter of how many other `members`
        the network has, if that is more: peers that come or come back may be heard before they are seen.
        And it never shrinks, or a dead peer's fragments would displace a live one's."""
        self.others = others
        self._limit = max(self._limit, others.total, members)
        for kept in self._kept.values():
            kept.updates.limit = self._limit

    def expected(self, round: int) -> int:
        """Fragments of that round, from all others together; where not all come here, as many as are sure."""
        fragments, others = self._layout.fragments, self.others.present(round)
        copies = copies_of_each(self._spec, others)
        return expected_parts(fragments, others, copies, self.others.contributing(round))

    def received(self, round: int) -> int:
        """Fragments of that round, at most one from each contributor for each index, and what is expected."""
        return min(self._there(round), self.expected(round))

    def none_missing(self, round: int) -> bool:
        """Whether all fragments of that round are there that there can be."""
        fragments, others = self._layout.fragments, self.others.present(round)
        copies, senders = copies_of_each(self._spec, others), self.others.contributing(round)
        return self._there(round) >= most_parts(fragments, others, copies, senders)

    def _there(self, round: int) -> int:
        kept = self._kept.get(round)
        return 0 if kept is None else kept.updates.received(self.others.contributing(round))

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
            return self._add_last(fragment)
        age = max(self.round - fragment.round, 0)
        late = 0 if fragment.of_model else stale_rounds(self._spec)
        if fragment.round < 1 or age > late or self.round > self._spec.rounds:
            return DropReason.ROUND_PAST
        number = fragment.round + age
        known = self._kept.get(number)
        kept = self._empty() if known is None else known
        refused = self._put(fragment, kept, age)
        if refused is not None:
            return refused
        room = self._make_room(number) if known is None else 0
        if not isinstance(room, DropReason):
            self._kept[number] = kept
        return room

    def _add_last(self, fragment: Fragment) -> DropReason | int:
        if not (fragment.of_model and self._spec.deltas and fragment.round == self._spec.rounds + 1):
            return DropReason.ROUND_AHEAD
        if self.round > self._spec.rounds:
            return DropReason.ROUND_PAST
        return self.last.add(fragment.index, fragment.data) or 0

    def _put(self, fragment: Fragment, kept: _Kept, age: int) -> DropReason | None:
        if fragment.of_model:
            return (
                kept.base.add(fragment.index, fragment.data) if self._spec.deltas else DropReason.BAD_FRAGMENT
            )
        if not 0 <= fragment.index < self._layout.fragments:
            return DropReason.BAD_FRAGMENT
        where = self._layout.slice(fragment.index)
        coder = self._exact if self._layout.is_exact(fragment.index) else self._encoding
        values = coder.decode(fragment.data, where.stop - where.start)
        return values if isinstance(values, DropReason) else kept.updates.add(fragment.index, values, age)

    def _empty(self) -> _Kept:
        return _Kept(make_aggregator(self._spec, self._layout, self._limit), Slices(self._slices))

    def take(self) -> Aggregator:
        """What came for the round that is collected; from now on it is the next one."""
        kept = self._kept.pop(self.round, None) or self._empty()
        self.round += 1
        return kept.updates

    def skip_to(self, round: int) -> int:
        """Collect that round from now on; so many fragments of earlier ones are thrown away."""
        gone = [self._kept.pop(number) for number in self.rounds if number < round]
        self.round = round
        return sum(kept.updates.fragments for kept in gone)

    def _make_room(self, number: int) -> DropReason | int:
        """For a round of which there is nothing yet: what `add` returns."""
        later = [number for number in self._kept if number > self.round]
        if number == self.round or len(later) < AHEAD:
            return 0
        cohort = self.cohort_round() or self.round
        if number < cohort:
            return DropReason.ROUND_PAST
        victim = min(
            later,
            key=lambda number: (number >= cohort, number == self.round + 1, self.received(number), -number),
        )
        return self._kept.pop(victim).updates.fragments
