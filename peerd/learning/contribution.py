"""What the others are told of when this peer contributes to a run: they wait for it then, and only then.
Sans-IO. See `actions.Contribute`."""

from __future__ import annotations

from peerd.learning.actions import Action, Contribute
from peerd.types import RunSpec


class Contribution:
    """At first that it only listens."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self.from_round = 0
        """As it was last told."""

    def includes(self, round: int) -> bool:
        return 0 < self.from_round <= round

    def begin(self, round: int) -> list[Action]:
        """This peer trains for that round."""
        return [] if self.includes(round) else self._tell(round)

    def resume_after(self, round: int, *, based: bool) -> list[Action]:
        """It only listens in that round, and contributes from the next one on, if there is one, and its model
        is known by then."""
        return self._tell(round + 1 if based and round < self._spec.rounds else 0)

    def end(self, round: int, *, trained: bool) -> list[Action]:
        """That round is its last. Who is behind waits for this peer in it alone, and who goes on not at all.
        trained: whether it has given something to that round."""
        if round == self._spec.rounds:
            return self._tell(round) if trained else []
        if not trained:
            return self._tell(0)
        self.from_round = round
        return [Contribute(-round)]

    def _tell(self, from_round: int) -> list[Action]:
        if from_round == self.from_round:
            return []
        self.from_round = from_round
        return [Contribute(from_round)]
