"""The schedules of `test_churn`, for runs whose fragments are changes since the last aggregate."""

from __future__ import annotations

import pytest
from plays.checks import check, check_deltas
from plays.churn import Play

ENCODINGS = ({"encoding": "int8", "delta": True}, {"encoding": "top-k"}, {"encoding": "random-mask"})


def play(seed):
    again = f'tests/sim/test_delta_churn.py -k "[{seed}]"'
    check(Play(seed, parameters=1500, **ENCODINGS[seed % len(ENCODINGS)]), check_deltas, again)


@pytest.mark.parametrize("seed", range(2000, 2006))
def test_churn(seed):
    play(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2006, 2400))
def test_more_churn(seed):
    play(seed)
