from __future__ import annotations

import msgspec
import pytest

from ctl.defaults import NEEDS_DATA, make_spec
from peerd.errors import InvalidInputError, NotFoundError
from peerd.learning import catalog
from peerd.presets import TASK_DEFAULTS
from peerd.types import SHIPPED_TASKS, RunSpec

RUN = "ab" * 16


def test_every_shipped_task_has_its_settings() -> None:
    assert set(TASK_DEFAULTS) == set(SHIPPED_TASKS)


@pytest.mark.parametrize("task", TASK_DEFAULTS)
def test_the_same_tasks_need_data(task: str) -> None:
    spec = make_spec(task, run_id=RUN)
    if task in NEEDS_DATA:
        with pytest.raises((NotFoundError, InvalidInputError)):
            catalog.check_task(spec)
    else:
        catalog.check_task(spec)


@pytest.mark.parametrize("task", TASK_DEFAULTS)
def test_what_is_given_wins_and_none_does_not(task: str) -> None:
    spec = make_spec(task, run_id=RUN, rounds=9, batch_size=None, samples_per_round=0)
    assert (spec.rounds, spec.samples_per_round) == (9, 0)
    wanted = TASK_DEFAULTS[task].get("batch_size", RunSpec(run_id=RUN, task=spec.task).batch_size)
    assert spec.batch_size == wanted
    assert msgspec.to_builtins(spec)["task"] == task


def test_mistakes_are_one_line() -> None:
    with pytest.raises(InvalidInputError, match="unknown task 'chess'; known: digits-cnn, mnist-cnn"):
        make_spec("chess", run_id=RUN)
    with pytest.raises(InvalidInputError, match="run: learning_rate: "):
        make_spec("digits-cnn", run_id=RUN, learning_rate=-1.0)
