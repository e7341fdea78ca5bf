"""How a run stands on this peer: what it says of itself, from the first start of its trainer on."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from peerd.layout import Layout
from peerd.learning.actions import RoundsStatus
from peerd.learning.collect import Others
from peerd.status import RunStatus
from peerd.types import RunSpec


class Progress:
    """`listening`: it does not contribute to `start_round`. The rest is shown as it is."""

    def __init__(
        self, spec: RunSpec, *, start_round: int, listening: bool, announced: bool, payload_bytes: int
    ) -> None:
        self._spec = spec
        self._start_round = start_round
        self._listening = listening
        self._announced = announced
        self._payload_bytes = payload_bytes
        self._error = ""
        self.ended = ""
        """How, once it has: finished, stopped, failed."""

    @property
    def is_of_use(self) -> bool:
        """Whether others may still need something of it: also once it is finished."""
        return self.ended in ("", "finished")

    def end(self, state: str, error: str = "") -> None:
        self.ended = state
        self._error = error or self._error

    def status(
        self,
        rounds: RoundsStatus | None,
        layout: Layout | None,
        others: Sequence[int],
        *,
        contributes_from: int,
        epsilon: float | None,
        model_digest: str,
    ) -> RunStatus:
        """rounds, layout: None while the trainer starts. others, contributes_from: as in `Contribute`."""
        known = RunStatus(
            spec=self._spec,
            state=self.ended or "starting",
            error=self._error,
            stage="done" if self.ended else "starting",
            announced=self._announced,
            epsilon=epsilon,
            contributes_from=abs(contributes_from),
            payload_bytes=self._payload_bytes,
            model_digest=model_digest,
        )
        if rounds is None or layout is None:
            return self._starting(known, others)
        return replace(
            known,
            state=self.ended or rounds.state,
            round=rounds.round,
            stage="done" if self.ended else rounds.stage,
            cohort=rounds.cohort,
            listeners=rounds.listeners,
            rounds_skipped=rounds.rounds_skipped,
            parameters=layout.parameters,
            fragments=layout.fragments,
            fragments_received=rounds.fragments_received,
            fragments_expected=rounds.fragments_expected,
            results=rounds.results,
            ended_by=rounds.ended_by if self.ended == "finished" else "",
        )

    def _starting(self, known: RunStatus, others: Sequence[int]) -> RunStatus:
        contributing = Others(others).contributing(self._start_round)
        cohort, listeners = contributing + (not self._listening), len(others) - contributing
        return replace(known, round=self._start_round, cohort=cohort, listeners=listeners)
