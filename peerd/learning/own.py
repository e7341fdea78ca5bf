"""What this peer gives to one round: its update, sent bit by bit, and how training went. Sans-IO."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from peerd.layout import Layout
from peerd.learning.actions import Action, RoundsStatus, SendFragments
from peerd.learning.fragment import Vector
from peerd.learning.models import Models
from peerd.learning.pieces import Pieces
from peerd.status import RoundResult


@dataclass(frozen=True, slots=True)
class Trained:
    """How training went. samples: how many; epsilon: what the run has cost this peer with it."""

    loss: float
    accuracy: float
    samples: int
    seconds: float
    epsilon: float | None = None


class Own:
    """Nothing yet."""

    def __init__(self, round: int, layout: Layout, models: Models, rng: random.Random) -> None:
        self._round = round
        self._layout = layout
        self._models = models
        self._rng = rng
        self._pieces: Pieces | None = None
        """What is sent of the update, or will be."""
        self._update: Vector | None = None
        """All of it; None before it is trained, and once it is sent."""
        self._trained: Trained | None = None
        self.gave_up = 0
        """Fragments that did not reach somebody."""

    @property
    def is_trained(self) -> bool:
        return self._trained is not None

    @property
    def counted(self) -> Pieces | None:
        """What the aggregate has of it; None where this peer listened."""
        return self._pieces if self._trained else None

    def trained(self, update: Vector, how: Trained) -> None:
        """The whole update, shape (parameters,), finite."""
        self._update, self._trained = update, how

    def send(self, update: Vector, indices: Iterable[int]) -> list[Action]:
        """Of these fragments of `update`, which are final, those that were not sent yet."""
        if self._pieces is None:
            self._pieces = self._models.begin(update)
        new = self._models.add(self._pieces, update, indices)
        self._rng.shuffle(new)
        return [SendFragments(self._round, tuple(new), self._pieces)] if new else []

    def send_all(self) -> list[Action]:
        """Of the update, once it is trained, what was not sent yet."""
        if self._update is None:
            return []
        update, self._update = self._update, None
        return self.send(update, range(self._layout.fragments))

    def again(self) -> SendFragments | None:
        """What is on its way to the others or was, in a new random order."""
        if self._pieces is None:
            return None
        order = self._pieces.final
        self._rng.shuffle(order)
        return SendFragments(self._round, tuple(order), self._pieces)

    def result(self, by: str, before: RoundsStatus, exchange_seconds: float, stale: int) -> RoundResult:
        """Of the round, which is being closed; `before` that."""
        own = self._trained
        return RoundResult(
            round=self._round,
            train_seconds=own.seconds if own else 0.0,
            exchange_seconds=exchange_seconds,
            closed_by=by,
            cohort=before.cohort,
            fragments_received=before.fragments_received,
            fragments_expected=before.fragments_expected,
            gave_up=self.gave_up,
            train_loss=own.loss if own else 0.0,
            accuracy_local=own.accuracy if own else 0.0,
            train_samples=own.samples if own else 0,
            listened=own is None,
            stale_fragments=stale,
            epsilon=own.epsilon if own else None,
        )
