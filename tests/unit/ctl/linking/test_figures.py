"""Figures over seeds, and what a recipient holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from ctl.linking.figures import T_975, figures, over_seeds
from ctl.linking.haul import Caught
from ctl.linking.play import Played


def test_intervals_are_those_of_student() -> None:
    values = [0.2, 0.3, 0.7]
    found = over_seeds([{"a": value, "b": None} for value in values])
    assert list(found) == ["a"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found["a"] == {
        "mean": pytest.approx(0.4),
        "low": pytest.approx(low, abs=1e-3),
        "high": pytest.approx(high, abs=1e-3),
    }
    for degrees, quantile in enumerate(T_975, 1):
        assert quantile == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-3)
    assert over_seeds([{"a": 0.5}])["a"] == {"mean": 0.5, "low": None, "high": None}


def test_what_is_held_is_counted_with_what_never_came(hauled: Callable[..., Caught]) -> None:
    whole, half = hauled(4, 5, 2), hauled(4, 5, 2, part=0.5)
    layout = whole.haul.layout
    found = figures(Played([whole], layout, [0.5, 0.75]), 1)
    assert found["accuracy"] == 0.75
    assert found["held.update"] == found["held.most"] == found["held.ever"] == 1.0
    found = figures(Played([half], layout, [0.5, 0.75]), 1)
    assert found["held.update"] == len(half.sender) / (4 * 5 * 2) < 0.75
    assert found["held.ever"] > found["held.update"]
    assert found["assembled.most"] <= found["held.most"]
