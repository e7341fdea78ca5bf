"""More of the schedules of `test_churn`: tests are shared out among the cores file by file."""

from __future__ import annotations

import pytest
from plays.checks import check, check_models
from plays.churn import Play


def play(seed):
    check(Play(seed), check_models, f'tests/sim/test_churn_again.py -k "[{seed}]"')


@pytest.mark.parametrize("seed", range(25, 33))
def test_churn(seed):
    play(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(33, 50))
def test_more_churn(seed):
    play(seed)
