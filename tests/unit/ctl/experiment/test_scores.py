"""Guess rates and bits, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ctl.experiment.scores import linked, score, wilson


def test_a_known_posterior() -> None:
    posterior = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 0.5, 0.5, 0.0]])
    found = score(posterior, np.array([0, 2]))
    assert found.guess_rate == pytest.approx(0.75)  # right, and a tie of two
    assert found.entropy_bits == pytest.approx(1.25)
    assert found.surprise_bits == pytest.approx(1.0)
    assert found.challenges == 2


def test_being_sure_and_wrong_shows() -> None:
    found = score(np.array([[0.999, 0.001]]), np.array([1]))
    assert found.guess_rate == 0.0
    assert found.entropy_bits < 0.02
    assert found.surprise_bits == pytest.approx(np.log2(1000), abs=0.01)


def test_wilson() -> None:
    """Newcombe (1998), table I: 81 of 263 and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_linked_messages_add_up() -> None:
    """Each points to the true sender with odds of 2 to 1 on average; many make it certain."""
    rng = np.random.default_rng(1)
    count = 400
    sender = np.repeat([0, 1], count // 2)
    right = rng.random(count) < 0.65
    posterior = np.zeros((count, 3))
    posterior[np.arange(count), np.where(right, sender, 1 - sender)] = 0.65
    posterior[np.arange(count), np.where(right, 1 - sender, sender)] = 0.35
    rates = linked(posterior, sender, np.full(count, 2), seed=1)
    assert rates["1"] == {"guess_rate": pytest.approx(right.mean()), "groups": count}
    assert rates["5"] is not None and rates["20"] is not None
    assert rates["1"]["guess_rate"] < rates["5"]["guess_rate"] < rates["20"]["guess_rate"]
    assert rates["20"]["guess_rate"] > 0.85


def test_too_few_to_link() -> None:
    rates = linked(np.full((3, 4), 0.25), np.zeros(3, dtype=int), np.ones(3, dtype=int), seed=1)
    assert rates["5"] is None
    assert rates["2"] == {"guess_rate": 0.25, "groups": 4}
