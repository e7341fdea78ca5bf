"""The child with the learners, as a process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctl.defaults import make_spec
from ctl.linking.learners import Learners
from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.types import RunSpec

TASK = """
import os
from peerd.training.tasks.synthetic import make as synthetic


def make():
    print("chatter")
    return synthetic(parameters=20)


def dies():
    print("no way", flush=True)
    os._exit(3)
"""


def spec(task: str = "synthetic", **changes: object) -> RunSpec:
    return make_spec(task, run_id=32 * "0", **changes)


def test_training_and_shadows() -> None:
    with Learners() as learners:
        start = learners.open(spec(task_options={"parameters": "30"}), 3, [0, 1])
        learners.open(spec(task_options={"parameters": "30"}), 2, [1], more=True, swapped=True)
        trained = [learners.train(number, 1, start) for number in range(3)]
        assert {update.shape for update, _ in trained} == {start.shape} == {(30,)}
        assert trained[0][0].tobytes() != trained[1][0].tobytes()
        assert [outcome.samples for _, outcome in trained] == [2000, 2000, 50]  # of 6,000 and of 100
        assert learners.evaluate(0, start).samples > 0
        with pytest.raises(InvalidInputError, match="no learner 3: there are 3"):
            learners.train(3, 1, start)
        learners.open(spec(), 3, [0])
        with pytest.raises(InvalidInputError, match="no learner 1: there are 1"):
            learners.train(1, 1, start)


def test_a_task_of_ones_own_and_what_it_prints(tmp_path: Path) -> None:
    (tmp_path / "ourtask.py").write_text(TASK)
    with Learners(str(tmp_path)) as learners:
        assert np.isfinite(learners.open(spec("ourtask:make"), 2, [0])).all()
        with pytest.raises(PeerdError, match="the learners cannot go on: no way"):
            learners.open(spec("ourtask:dies"), 2, [0])
        with pytest.raises(PeerdError, match="cannot go on"):
            learners.open(spec("ourtask:make"), 2, [0])


def test_a_task_that_is_not_there() -> None:
    with Learners() as learners, pytest.raises(NotFoundError, match="no such data folder"):
        learners.open(spec("mnist-cnn", data_dir="/no/such/folder"), 2, [0])
