from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.training.draw import Draw, learning_rate
from peerd.types import RunSpec


def spec(**changes: Any) -> RunSpec:
    return RunSpec(run_id="0" * 32, task="x", **changes)


@given(st.integers(1, 200), st.integers(0, 250), st.integers(1, 70), st.integers(1, 3), st.integers(0, 40))
def test_epochs_go_over_what_was_chosen_and_batches_are_counted(
    available: int, samples: int, size: int, epochs: int, local_batches: int
) -> None:
    run = spec(samples_per_round=samples, batch_size=size, local_epochs=epochs, local_batches=local_batches)
    draw = Draw(run, 3, 1, available)
    batches = list(draw.batches())
    assert len(draw.chosen) == len(set(draw.chosen.tolist())) == (min(samples, available) or available)
    assert len(batches) == draw.total == (local_batches or epochs * draw.epoch)
    assert all(1 <= len(batch) <= size for batch in batches)
    for start in range(0, len(batches) - draw.epoch + 1, draw.epoch):
        epoch = np.concatenate(batches[start : start + draw.epoch])
        np.testing.assert_array_equal(np.sort(epoch), np.sort(draw.chosen))


def test_the_loss_is_that_of_the_last_epoch() -> None:
    draw = Draw(spec(batch_size=5), 1, 0, 10)
    assert draw.mean_loss([9.0, 9.0, 1.0, 3.0]) == 2.0
    assert Draw(spec(batch_size=5, local_batches=1), 1, 0, 10).mean_loss([4.0]) == 4.0


def rates(rounds: int, **changes: Any) -> list[float]:
    run = spec(learning_rate=0.1, rounds=rounds, **changes)
    return [learning_rate(run, number) for number in range(1, rounds + 1)]


def test_the_schedules() -> None:
    assert rates(3) == [0.1, 0.1, 0.1]
    assert rates(4, schedule="cosine") == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-5)
    assert rates(5, schedule="step", decay=0.1, decay_rounds=2) == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001]
    )


@given(st.integers(1, 10_000), st.data(), st.sampled_from(["constant", "cosine", "step"]))
def test_a_rate_never_grows_and_is_never_negative(rounds: int, data: st.DataObject, schedule: Any) -> None:
    run = spec(rounds=rounds, schedule=schedule, learning_rate=0.1)
    number = data.draw(st.integers(1, rounds))
    assert 0.0 <= learning_rate(run, number + 1) <= learning_rate(run, number) <= 0.1
    assert learning_rate(run, min(number, rounds)) > 0.0 or schedule == "step"
