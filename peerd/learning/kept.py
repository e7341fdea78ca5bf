"""What a crashed peer goes on with: the last closed round and its model."""

from __future__ import annotations

import hashlib

import numpy as np

from peerd.learning.fragment import Vector
from peerd.learning.ports import SaveRun
from peerd.types import RunSpec


class Kept:
    """Of one run. `model`: the one after `round`; None: the trainer's initial one."""

    def __init__(
        self,
        spec: RunSpec,
        save: SaveRun,
        round: int,
        model: Vector | None,
        *,
        shard: int,
        shards: int,
        announced: bool,
    ) -> None:
        self._spec = spec
        self._save = save
        self._model: Vector | None = np.zeros(0, np.float32) if model is None else model
        """What has not been given to be written: a large one is not held for nothing."""
        self._shard = shard
        self._shards = shards
        self._announced = announced
        self.round = round
        self.digest = "" if model is None else _digest(model)
        """SHA-256 of the model, in hex; empty while it is the trainer's."""

    def close(self, round: int, model: Vector) -> None:
        self.round, self._model = round, model
        self.digest = _digest(model)
        self.write(finished=round == self._spec.rounds)

    def write(self, *, finished: bool) -> None:
        self._save(
            self._spec,
            self.round,
            self._model,
            shard=self._shard,
            shards=self._shards,
            announced=self._announced,
            finished=finished,
        )
        self._model = None


def _digest(model: Vector) -> str:
    return hashlib.sha256(model.data).hexdigest()
