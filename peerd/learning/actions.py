"""What `Rounds` asks for, in the order in which it is to be done, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from peerd.layout import Layout
from peerd.learning.fragment import Data, Parcel, Vector, parcel
from peerd.learning.pieces import Pieces
from peerd.status import RoundResult
from peerd.types import DropReason


class Stage(StrEnum):
    STARTING = "starting"
    LISTENING = "listening"
    TRAINING = "training"
    EXCHANGING = "exchanging"
    EVALUATING = "evaluating"
    PAUSED = "paused"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Contribute:
    """Tell the others that this peer's fragments come from that round on, and are not waited for before.
    0: none come any more. -n: this peer ends with round n, before the run's last, and is waited for in
    no other."""

    from_round: int


@dataclass(frozen=True, slots=True, eq=False)
class StartTraining:
    """Train from `vector`, then call `trained`."""

    round: int
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class SendFragments:
    """Send each of them to every other peer, in this random order."""

    round: int
    order: tuple[int, ...]
    pieces: Pieces

    @property
    def fragments(self) -> Iterator[tuple[int, Data]]:
        """(index, data), made one by one."""
        return ((index, self.pieces[index]) for index in self.order)

    def parcels(self, run: int) -> list[Parcel]:
        """Of the run with that wire id."""
        pieces = self.pieces
        return [parcel(run, self.round, index, partial(pieces.__getitem__, index)) for index in self.order]


@dataclass(frozen=True, slots=True, eq=False)
class SendModel:
    """Send slices of the model that `round` starts from, those for `everyone` to every other peer, those for
    `newcomers` to who only listens."""

    round: int
    model: Vector
    layout: Layout
    newcomers: tuple[int, ...]
    everyone: tuple[int, ...] = ()

    def parcels(self, run: int, indices: Iterable[int]) -> list[Parcel]:
        """Of the run with that wire id."""
        return [
            parcel(run, self.round, index, partial(self._data, index), of_model=True) for index in indices
        ]

    def _data(self, index: int) -> Vector:
        return self.model[self.layout.slice(index)]


@dataclass(frozen=True, slots=True)
class Skipped:
    """The rounds from `round` to before `to` were given up to catch up with the others, who are in `to`."""

    round: int
    to: int


@dataclass(frozen=True, slots=True, eq=False)
class RoundClosed:
    """`vector` is the aggregate, the model that the next round starts from. Sends of earlier rounds can
    be cancelled now; those of this round may still be missing elsewhere."""

    result: RoundResult
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Evaluate:
    """Measure the aggregate on the test set, then call `evaluated`. whole: on all of it, in any round."""

    round: int
    vector: Vector
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """All rounds are done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The run is over, and this peer has not come to its model."""

    error: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many fragments: the one that came, or earlier ones that are of no use any more."""

    reason: DropReason
    count: int = 1


Action = (
    Contribute
    | StartTraining
    | SendFragments
    | SendModel
    | Skipped
    | RoundClosed
    | Evaluate
    | Finished
    | Failed
    | Dropped
)


@dataclass(frozen=True, slots=True)
class RoundsStatus:
    state: str
    """starting, running, paused, finished, stopped, failed; paused as soon as a pause is asked for"""
    round: int
    """The current one, from 1."""
    stage: Stage
    cohort: int
    """Peers that contribute to this round, oneself included if one does."""
    listeners: int
    """Other peers that take part and do not contribute yet."""
    contributes_from: int
    """The first round with fragments of this peer; 0: it only listens."""
    rounds_skipped: int
    fragments_received: int
    """In this round, at most one from each other peer that contributes for each index."""
    fragments_expected: int
    results: tuple[RoundResult, ...]
    ended_by: str = ""
    """rounds, patience, target; empty before the end."""
