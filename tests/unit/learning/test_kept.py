"""What a crashed peer goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from peerd.learning.fragment import Vector
from peerd.learning.kept import Kept
from peerd.types import RunSpec

MODEL = np.arange(3, dtype=np.float32)


class Disk:
    def __init__(self) -> None:
        self.saved: list[tuple[int, list[float], bool]] = []

    def save(self, spec: RunSpec, round_number: int, vector: Vector, **fields: Any) -> None:
        finished = fields.pop("finished")
        assert fields == {"shard": 1, "shards": 4, "announced": True}
        self.saved.append((round_number, vector.tolist(), finished))


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def make(disk: Disk, make_spec: Callable[..., RunSpec]) -> Callable[..., Kept]:
    """Of a run of 3 rounds."""

    def kept(round: int, model: Vector | None) -> Kept:
        return Kept(make_spec(), disk.save, round, model, shard=1, shards=4, announced=True)

    return kept


def test_before_a_round_is_closed_there_is_no_model(make: Callable[..., Kept], disk: Disk) -> None:
    kept = make(0, None)
    kept.write(finished=False)
    assert disk.saved == [(0, [], False)]
    assert kept.digest == ""


def test_what_a_run_is_taken_up_with_is_kept_as_it_is(make: Callable[..., Kept], disk: Disk) -> None:
    kept = make(2, MODEL)
    kept.write(finished=True)
    assert disk.saved == [(2, [0.0, 1.0, 2.0], True)]
    assert kept.digest == hashlib.sha256(MODEL.tobytes()).hexdigest()


def test_with_the_last_round_it_is_finished(make: Callable[..., Kept], disk: Disk) -> None:
    kept = make(1, None)
    kept.close(2, MODEL)
    kept.close(3, MODEL + 1)
    assert disk.saved == [(2, [0.0, 1.0, 2.0], False), (3, [1.0, 2.0, 3.0], True)]
    assert kept.round == 3
    assert kept.digest == hashlib.sha256((MODEL + 1).tobytes()).hexdigest()
