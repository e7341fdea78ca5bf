from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peerd.mix import draw_exponential, draw_truncated_normal

DRAWS = 20_000


class Fixed(random.Random):
    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize("mean", [0.002, 0.05, 3.0])
def test_exponential_draws_are_exponential(mean: float) -> None:
    rng = random.Random(1)
    drawn = [draw_exponential(rng, mean) for _ in range(DRAWS)]
    assert stats.kstest(drawn, stats.expon(scale=mean).cdf).pvalue > 0.01


def test_the_exponential_test_can_fail() -> None:
    rng = random.Random(1)
    drawn = [draw_exponential(rng, 0.05) for _ in range(DRAWS)]
    assert stats.kstest(drawn, stats.expon(scale=0.052).cdf).pvalue < 0.01


@pytest.mark.parametrize("deviation", [0.0005, 0.002, 0.005, 0.02, 1.0])
def test_truncated_normal_draws_are_truncated_normal(deviation: float) -> None:
    rng = random.Random(2)
    mean = 0.005
    drawn = [draw_truncated_normal(rng, mean, deviation) for _ in range(DRAWS)]
    edge = mean / deviation
    expected = stats.truncnorm(-edge, edge, loc=mean, scale=deviation)
    assert stats.kstest(drawn, expected.cdf).pvalue > 0.01
    assert sum(drawn) / DRAWS == pytest.approx(mean, rel=0.02)


@given(
    st.floats(1e-6, 1e4),
    st.floats(0.0, 1e8),
    st.sampled_from([0.0, 5e-324, 2**-53, 0.5, 1.0 - 2**-53]),
)
def test_the_extremes_of_the_uniform_stay_inside(mean: float, deviation: float, u: float) -> None:
    assert 0.0 <= draw_truncated_normal(Fixed(u), mean, deviation) <= 2.0 * mean
    assert 0.0 <= draw_exponential(Fixed(u), mean) <= 36.8 * mean


def test_without_spread_nothing_is_drawn() -> None:
    rng = random.Random(3)
    before = rng.getstate()
    assert draw_exponential(rng, 0.0) == 0.0
    assert draw_truncated_normal(rng, 0.25, 0.0) == 0.25
    assert rng.getstate() == before


def test_production_randomness_serves() -> None:
    rng = random.SystemRandom()
    assert draw_exponential(rng, 1.0) >= 0.0
    assert 0.0 <= draw_truncated_normal(rng, 1.0, 0.3) <= 2.0
