"""What happens to whom in which round. By rounds and not by the clock, so that it is the same on a fast and
on a slow machine; only how long a peer is frozen is a time, since links judge by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ctl.testbed import peer_names
from peerd.errors import InvalidInputError

Act = Literal["join", "drain", "kill", "return", "freeze"]


@dataclass(frozen=True, slots=True)
class Step:
    """When the first of the peers that nothing happens to is in this round."""

    round: int
    act: Act
    peer: str
    seconds: float = 0.0
    """freeze: for so long."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`steps` in the order of their rounds."""

    peers: int
    """Enrolled, with those that join late."""
    rounds: int
    steps: tuple[Step, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return peer_names(self.peers)

    def of(self, *acts: Act) -> tuple[str, ...]:
        """To whom one of these happens, in that order, each once."""
        return tuple(dict.fromkeys(step.peer for step in self.steps if step.act in acts))

    @property
    def late(self) -> tuple[str, ...]:
        return self.of("join")

    @property
    def steady(self) -> tuple[str, ...]:
        """There from start to end: nothing happens to them."""
        struck = {step.peer for step in self.steps}
        return tuple(name for name in self.names if name not in struck)

    @property
    def survivors(self) -> tuple[str, ...]:
        """Never killed, frozen or drained: the steady ones and those that join late."""
        return (*self.steady, *(name for name in self.late if name not in self.of("drain", "kill", "freeze")))

    @property
    def finishers(self) -> tuple[str, ...]:
        """There at the end."""
        gone = set(self.of("drain", "kill")) - set(self.of("return"))
        return tuple(name for name in self.names if name not in gone)

    def active(self) -> Iterator[int]:
        """How many peers are there at the start and after each step, if a frozen one never thawed."""
        count = self.peers - len(self.late)
        yield count
        for step in self.steps:
            count += 1 if step.act in ("join", "return") else -1
            yield count


FULL = Schedule(
    10,
    12,
    (
        Step(2, "join", "ivan"),
        Step(3, "drain", "bob"),
        Step(3, "freeze", "erin", 20.0),
        Step(4, "join", "judy"),
        Step(5, "kill", "carol"),
        Step(6, "kill", "dora"),
        Step(7, "return", "carol"),
        Step(9, "drain", "frank"),
    ),
)
"""The test of the specification."""
QUICK = Schedule(
    7,
    7,
    (
        Step(2, "join", "grace"),
        Step(2, "freeze", "erin", 8.0),
        Step(3, "kill", "carol"),
        Step(4, "drain", "bob"),
        Step(5, "return", "carol"),
        Step(5, "kill", "dora"),
    ),
)
"""The same in a minute or two, with two mix nodes on a path."""
DEMO_PEERS, DEMO_ROUNDS = 8, 8


def demo_schedule(peers: int, rounds: int, hops: int) -> Schedule:
    """Two joins, a leave and a crash. InvalidInputError where there are too few peers or rounds for it."""
    if peers - 2 < hops + 2:
        raise InvalidInputError(
            f"--churn: two of the peers join late, and {hops} mix nodes between two peers need at least "
            f"{hops + 2} others: {hops + 4} peers or more, not {peers}"
        )
    if rounds < 7:
        raise InvalidInputError(f"--churn: at least 7 rounds, not {rounds}, or it is over before all of it")
    names = peer_names(peers)
    steps = (
        Step(2, "join", names[-2]),
        Step(3, "join", names[-1]),
        Step(4, "drain", names[1]),
        Step(5, "kill", names[2]),
    )
    return Schedule(peers, rounds, steps)
