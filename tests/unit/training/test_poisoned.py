"""A task that poisons its updates: who does, what is sent, and that it looks honest otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from peerd.errors import DeniedError, InvalidInputError
from peerd.training.poisoned import poison
from peerd.training.session import open_learner
from peerd.training.task import Learner
from peerd.types import RunSpec

TASK = "peerd.training.poisoned:make"
START, TRAINED = np.full(4, 10.0, np.float32), np.array([10.0, 11.0, 8.0, 10.5], np.float32)


def learner(shard: int, **options: Any) -> Learner:
    given = {"task": "synthetic"} | {name: str(value) for name, value in options.items()}
    spec = RunSpec(run_id="0" * 32, task=TASK, task_options=given)
    return open_learner(spec, shard, 4, allowed=(TASK,))


def honest(shard: int) -> Learner:
    return open_learner(RunSpec(run_id="0" * 32, task="synthetic"), shard, 4)


def test_a_sign_is_flipped_around_the_start() -> None:
    np.testing.assert_array_equal(poison(START, TRAINED, "sign-flip", 2.0, (1,)), [10.0, 8.0, 14.0, 9.0])
    np.testing.assert_array_equal(poison(START, TRAINED, "none", 2.0, (1,)), TRAINED)


def test_noise_is_as_long_as_it_should_be_and_repeats_itself() -> None:
    start = np.zeros(10_000, np.float32)
    trained = start + np.float32(0.5)
    noise = poison(start, trained, "noise", 4.0, (1, 2, 3))
    assert float(np.sqrt(np.mean(np.square(noise)))) == pytest.approx(2.0, rel=0.05)
    np.testing.assert_array_equal(noise, poison(start, trained, "noise", 4.0, (1, 2, 3)))
    assert (noise != poison(start, trained, "noise", 4.0, (1, 2, 4))).any()


def test_the_largest_poison_is_finite() -> None:
    largest = np.full(4, np.finfo(np.float32).max, np.float32)
    for attack in ("sign-flip", "noise"):
        assert np.isfinite(poison(-largest, largest, attack, 1e6, (1,))).all()  # type: ignore[arg-type]


def test_the_first_shards_poison_and_say_what_honest_ones_would() -> None:
    for shard in range(4):
        false, true = learner(shard, attack="sign-flip", poisoners=2, scale=3), honest(shard)
        start = false.vector()
        np.testing.assert_array_equal(start, true.vector())
        sent, said = false.train(1, start)
        trained, outcome = true.train(1, start)
        expected = start - 3.0 * (trained.astype(np.float64) - start) if shard < 2 else trained
        np.testing.assert_array_equal(sent, expected.astype(np.float32))
        assert (said.loss, said.accuracy, said.samples) == (outcome.loss, outcome.accuracy, outcome.samples)
        assert false.evaluate(trained, 0).accuracy == true.evaluate(trained, 0).accuracy


def test_without_an_attack_it_is_the_task_itself() -> None:
    start = honest(0).vector()
    np.testing.assert_array_equal(learner(0).train(1, start)[0], honest(0).train(1, start)[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attack": "flattery"}, "option attack: 'flattery'; allowed: none, sign-flip, noise"),
        ({"poisoners": -1}, "options poisoners and scale"),
        ({"scale": -1}, "options poisoners and scale"),
        ({"scale": "nan"}, "options poisoners and scale"),
        ({"task": "chess"}, "unknown task 'chess'"),
        ({"virus": 1}, "no option 'virus'; its options: attack, poisoners, scale, task"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        learner(0, **options)


def test_it_is_no_way_round_what_a_host_allows() -> None:
    with pytest.raises(DeniedError, match="not allowed on this host"):
        open_learner(RunSpec(run_id="0" * 32, task=TASK), 0, 4)
