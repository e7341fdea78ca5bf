"""When a run ends on this peer. Sans-IO.

    rounds     all of them are done
    target     a round's aggregate was measured at `target_accuracy` or more
    patience   `patience` rounds have gone by since the last improvement: a round that was measured at least
               `min_improvement` above the improvement before it (early stopping; Prechelt, 1998)

Rounds are counted by their numbers, so that a peer that jumped over some, or was away, decides in the same
round as the others if it measures the same. What was measured before a restart comes back by `earlier`.
"""

from __future__ import annotations

from collections.abc import Iterable

from peerd.status import RoundResult
from peerd.types import RunSpec


class Stopping:
    """`earlier`: rounds in order; those that were not measured say nothing."""

    def __init__(self, spec: RunSpec, earlier: Iterable[RoundResult] = ()) -> None:
        self._spec = spec
        self._best: tuple[int, float] | None = None
        """Round and accuracy of the last improvement."""
        for result in earlier:
            if result.test_samples:
                self.measured(result.round, result.accuracy)

    def measured(self, round: int, accuracy: float) -> str:
        """Why the run ends with that round; empty: it goes on."""
        if self._improves(accuracy):
            self._best = round, accuracy
        assert self._best is not None
        if 0.0 < self._spec.target_accuracy <= accuracy:
            return "target"
        if round >= self._spec.rounds:
            return "rounds"
        if 0 < self._spec.patience <= round - self._best[0]:
            return "patience"
        return ""

    def _improves(self, accuracy: float) -> bool:
        if self._best is None:
            return True
        best = self._best[1]
        return accuracy > best and accuracy >= best + self._spec.min_improvement
