"""Our figures against the closed form of the Gaussian mechanism, calculated here in another way."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import NotFoundError
from peerd.training.accountant import needed, spent
from peerd.types import LEAST_NOISE

NOISE = st.floats(0.01, 100.0)
DELTAS = st.floats(1e-12, 0.1)
RELEASES = st.integers(1, 10_000)


def delta_of(epsilon: float, noise_multiplier: float, releases: int) -> Any:
    """Balle and Wang 2018, theorem 8: two means that are `apart` deviations from each other; in 60 digits."""
    with mpmath.workdps(60):
        apart = 2 * mpmath.sqrt(releases) / mpmath.mpf(noise_multiplier)
        above = mpmath.erfc((epsilon / apart - apart / 2) / mpmath.sqrt(2)) / 2
        below = mpmath.erfc((epsilon / apart + apart / 2) / mpmath.sqrt(2)) / 2
        return above - mpmath.exp(epsilon) * below


@given(NOISE, DELTAS, RELEASES)
def test_epsilon_is_that_of_the_closed_form(noise: float, delta: float, releases: int) -> None:
    epsilon = spent(noise, delta, releases)
    if epsilon == 0.0:
        assert delta_of(0.0, noise, releases) <= delta * (1 + 1e-6)
    else:
        assert delta_of(epsilon * (1 + 1e-9) + 1e-9, noise, releases) <= delta
        assert delta_of(epsilon * (1 - 1e-6) - 1e-9, noise, releases) >= delta


def test_a_figure_that_is_known() -> None:
    """Multiplier 2 is a deviation of one sensitivity: 4.3772 at 1e-5, where the classical bound of Dwork and
    Roth 2014 (theorem A.1), for epsilon below 1, would say 4.84."""
    assert spent(2.0, 1e-5, 1) == pytest.approx(4.3772, abs=1e-4)
    assert spent(2.0, 1e-5, 1) < math.sqrt(2 * math.log(1.25e5))


@given(NOISE, DELTAS, RELEASES)
def test_many_releases_are_one_with_less_noise(noise: float, delta: float, releases: int) -> None:
    assert spent(noise, delta, releases) == pytest.approx(
        spent(noise / math.sqrt(releases), delta, 1), rel=1e-6, abs=1e-9
    )
    assert spent(noise, delta, releases + 1) >= spent(noise, delta, releases)
    assert spent(noise, delta, 0) == 0.0


@given(st.floats(1e-3, 1e6), DELTAS, st.integers(1, 1_000_000))
def test_the_noise_that_is_found_is_enough_and_not_much_more(
    epsilon: float, delta: float, releases: int
) -> None:
    noise = needed(epsilon, delta, releases)
    assert noise == float(f"{noise:.4g}")  # as it is shown
    assert spent(noise, delta, releases) <= epsilon
    if noise > LEAST_NOISE:
        assert spent(noise * 0.998, delta, releases) > epsilon * (1 - 1e-9)


@pytest.mark.parametrize("noise", [LEAST_NOISE, 1e6])
@pytest.mark.parametrize("releases", [1, 1_000_000])
@pytest.mark.parametrize("delta", [1e-30, 0.5])
@pytest.mark.filterwarnings("error")
def test_at_the_ends_of_what_is_allowed(noise: float, releases: int, delta: float) -> None:
    assert 0.0 <= spent(noise, delta, releases) < 1e13


def test_without_the_library_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match=r"not installed here: pip install 'peerd\[train\]'"):
        spent(1.0, 1e-5, 1)
