"""What the daemons said during one run, kept as it came: the only source of all figures."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ctl.churn import Happened
from ctl.events import Told
from peerd.pb import node_pb2, runs_pb2
from peerd.types import DropReason

UNACKED = (DropReason.PEER_DEAD, DropReason.CANCELLED, DropReason.GAVE_UP)
"""Why a message may be dropped that no acknowledgement came for."""
GONE = frozenset({"dead", "left", "revoked"})
"""States of a peer in which nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One daemon's counters, from its start to that moment."""

    at: float
    """Unix time, as all times here: the daemons share this machine's clock."""
    alive: int
    """Other peers that it sees alive."""
    resent: int
    unacked: Mapping[str, int]
    """Messages dropped before they were acknowledged, by the reason."""
    gave_up: int


@dataclass(frozen=True, slots=True)
class Change:
    """One peer's opinion of another."""

    at: float
    by: str
    peer: str
    state: str


@dataclass(slots=True)
class Record:
    """A `Listener` that forgets nothing but repetitions."""

    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)
    """By peer and life: a daemon's counters begin anew when it is started again."""
    results: dict[str, dict[int, runs_pb2.RoundResult]] = field(default_factory=dict)
    runs: dict[str, runs_pb2.RunStatus] = field(default_factory=dict)
    """The last of each peer."""
    contributes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """From when on a peer said that it contributes from that round; 0: it listens, or is gone."""
    closed: dict[str, dict[int, float]] = field(default_factory=dict)
    """When each peer closed each round: its run's stream tells at once, the event when it is measured."""
    changes: list[Change] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    watching: Callable[[], None] = lambda: None
    """Called after each change of a run."""

    # -- Listener ---------------------------------------------------------------

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        traffic = status.traffic
        unacked = {reason.value: traffic.dropped.get(reason.value, 0) for reason in UNACKED}
        sample = Sample(at, status.peers_alive, traffic.resent, unacked, traffic.gave_up)
        self.samples.setdefault((name, life), []).append(sample)

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        self.runs[name] = status
        known = self.results.setdefault(name, {})
        for result in status.results:
            known[result.round] = result
            self.closed.setdefault(name, {}).setdefault(result.round, at)
        said = self.contributes.setdefault(name, [])
        if not said or said[-1][1] != status.contributes_from:
            said.append((at, status.contributes_from))
        self.watching()

    def event(self, told: Told) -> None:
        event = told.item
        self.events.append(told)
        if event.kind == "peer" and event.peer:
            self.changes.append(Change(event.at, told.by, event.peer, event.what))

    def gone(self, name: str) -> None:
        """Its counters stay as they were."""

    # -- what is asked of it ----------------------------------------------------

    @property
    def begun(self) -> float:
        """When the first sample was taken; 0 without any."""
        return min((known[0].at for known in self.samples.values()), default=0.0)

    def sent_from(self, name: str, number: int) -> float | None:
        """When a peer began to send its fragments of that round; None: it did not close it, or listened."""
        result, at = self.results.get(name, {}).get(number), self.closed.get(name, {}).get(number)
        return None if result is None or at is None or result.listened else at - result.exchange_seconds

    def contributed(self, name: str, number: int, at: float) -> bool:
        """Whether a peer was to contribute to that round, as far as it had said at that time."""
        said = [first for moment, first in self.contributes.get(name, []) if moment <= at]
        return bool(said) and 0 < said[-1] <= number

    def state(self, by: str, peer: str, at: float) -> str:
        """How one peer saw another at that time; `alive` where it has said nothing of it."""
        return next((c.state for c in reversed(self._changes(by, at)) if c.peer == peer), "alive")

    def last_death(self, by: str, at: float) -> float | None:
        """When that peer learned last, before that time, that another is dead."""
        return max((c.at for c in self._changes(by, at) if c.state == "dead"), default=None)

    def _changes(self, by: str, at: float) -> list[Change]:
        return [change for change in self.changes if change.by == by and change.at <= at]

    def latest(self, at: float) -> Iterator[Sample]:
        """Of every peer and life the last sample before that time."""
        for samples in self.samples.values():
            known = bisect_right(samples, at, key=lambda sample: sample.at)
            if known:
                yield samples[known - 1]

    def latest_of(self, name: str, at: float) -> Sample | None:
        """Of one peer's present life."""
        lives = [
            samples for (peer, _), samples in self.samples.items() if peer == name and samples[0].at <= at
        ]
        return None if not lives else lives[-1][bisect_right(lives[-1], at, key=lambda sample: sample.at) - 1]
