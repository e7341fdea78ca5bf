"""When a peer sends slices of its model to others, and to whom: to who lacks what a round starts from, if
fragments do not carry models. Sans-IO. Which slices, and why: see `base`."""

from __future__ import annotations

from peerd.learning.actions import Action, SendModel
from peerd.learning.collect import Collected
from peerd.learning.models import Models
from peerd.types import RunSpec


class Sharing:
    """`collected` knows who there is, `models` what there is to give."""

    def __init__(self, spec: RunSpec, models: Models, collected: Collected) -> None:
        self._spec = spec
        self._models = models
        self._collected = collected

    def base(self, round: int) -> list[Action]:
        """What others may lack of the model that this round starts from."""
        if round == 1 and not self._spec.initial_run:
            return []  # all have the initial one
        others = self._collected.others
        contributing = others.contributing(round)
        listeners = others.present(round) > contributing
        shared = self._models.share(round, contributing + 1, newcomers=listeners, everyone=True)
        return [shared] if shared and (shared.newcomers or shared.everyone) else []

    def end(self, round: int) -> list[Action]:
        """The run ends with that round. Who listens in the run's last one may not have the model that it
        starts from, nor get it any more."""
        others = self._collected.others
        listens = round == self._spec.rounds and others.total > others.contributing(round)
        shared = self._last() if listens else None
        return [shared] if shared else []

    def to_newcomer(self, round: int) -> SendModel | None:
        """Some of the model that this round starts from; after the last round as if there were one more."""
        if round > self._spec.rounds:
            return self._last()
        senders = self._collected.others.contributing(round) + 1
        return self._models.share(round, senders, newcomers=True, everyone=False)

    def _last(self) -> SendModel | None:
        last = self._spec.rounds
        return self._models.share_last(last + 1, self._collected.others.contributing(last) + 1)
