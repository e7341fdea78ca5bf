"""More of the schedules of `test_churn`: tests are shared out among the cores file by file."""

from __future__ import annotations

import pytest
from plays.checks import check, check_models
from plays.churn import Play


@pytest.mark.parametrize("seed", range(25, 50))
def test_churn(seed):
    check(Play(seed), check_models, f'tests/sim/test_churn_again.py -k "[{seed}]"')
