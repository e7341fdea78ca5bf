"""When a round that is waited for ends. Sans-IO.

    complete   every index has a fragment from each other peer that contributes; where parts are drawn, as
               many are there as are sure, and the rest has been waited for (`patience`)
    grace      the quorum was there, and then `grace_seconds` passed
    timeout    `round_timeout_seconds` passed since the own fragments were sent, or listening began

A quorum is no reason to end a round without which this peer would never come to the model.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from peerd.clock import earliest
from peerd.learning.patience import Patience
from peerd.types import RunSpec


@dataclass(frozen=True, slots=True)
class Standing:
    """What has come of the round that is waited for."""

    round: int
    received: int
    quorum: bool
    enough: bool
    """Everything that is expected."""
    none_missing: bool
    """All that there can be."""
    lost: bool
    """It is the last round, and what has come leads to no model."""


class Waiting:
    """Of one run; for one round after the other, see `begin`."""

    def __init__(self, spec: RunSpec, now: float) -> None:
        self._spec = spec
        self._patience = Patience(spec.grace_seconds)
        self.begin(now)

    def begin(self, now: float) -> None:
        """From now on this peer waits for the others."""
        self.since = now
        self._grace_at: float | None = None
        self._patient_until: float | None = None

    @property
    def deadline(self) -> float:
        """When there is a verdict if nothing else comes."""
        due = earliest(self.timeout_at, self._grace_at, self._patient_until)
        assert due is not None
        return due

    def came(self, round: int, now: float, kept: Collection[int], *, enough: bool) -> None:
        """A fragment of that round, waited for or later; as for `Patience`."""
        self._patience.came(round, now, kept, enough=enough)

    def verdict(self, standing: Standing, now: float) -> str:
        """How the round ends now: complete, grace, timeout; empty: it does not."""
        self._patient_until = None
        if standing.enough and self._is_over(standing, now):
            return "complete"
        if not standing.quorum or standing.lost:
            self._grace_at = None
        elif self._grace_at is None:
            self._grace_at = now + self._spec.grace_seconds
        if self._grace_at is not None and now >= self._grace_at:
            return "grace"
        return "timeout" if now >= self.timeout_at else ""

    def _is_over(self, standing: Standing, now: float) -> bool:
        """Of a round that has enough: whether there can be no more, or that has been waited for."""
        if standing.none_missing:
            return True
        until = self._patience.ends_at(standing.round, now)
        self._patient_until = None if now >= until else until
        return now >= until

    @property
    def timeout_at(self) -> float:
        return self.since + self._spec.round_timeout_seconds
