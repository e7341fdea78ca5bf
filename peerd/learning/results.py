"""The closed rounds of a run, with what became known of them later."""

from __future__ import annotations

import msgspec

from peerd.status import RoundResult

KEPT_RESULTS = 1_000
"""Closed rounds whose results are remembered."""


class Results:
    """In order; the last `KEPT_RESULTS`. A round lasts until the next one begins; the last one until the
    end."""

    def __init__(self, now: float) -> None:
        self.all: tuple[RoundResult, ...] = ()
        self.began = now
        """When the present round did."""
        self._lasting = False
        """Whether the last result's round, closed, is not over yet."""

    @property
    def last(self) -> RoundResult:
        return self.all[-1]

    def add(self, result: RoundResult) -> None:
        self.all = (*self.all, result)[-KEPT_RESULTS:]
        self._lasting = True

    def begin(self, now: float) -> None:
        """The next round begins, or the run ends."""
        if self._lasting:
            self.amend(self.last.round, round_seconds=now - self.began)
        self._lasting = False
        self.began = now

    def amend(self, round_number: int, **changes: float) -> None:
        self.all = tuple(
            msgspec.structs.replace(result, **changes) if result.round == round_number else result
            for result in self.all
        )

    def gave_up(self, round_number: int) -> None:
        for result in self.all:
            if result.round == round_number:
                self.amend(round_number, gave_up=result.gave_up + 1)
