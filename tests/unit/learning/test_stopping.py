from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peerd.learning.stopping import Stopping
from peerd.status import RoundResult
from peerd.types import RunSpec

MakeSpec = Callable[..., RunSpec]
ACCURACIES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=30)
PATIENCE = st.integers(0, 5)
IMPROVEMENT = st.sampled_from([0.0, 0.25, 0.5])
TARGET = st.sampled_from([0.0, 0.75, 1.0])


def ends(stopping: Stopping, accuracies: list[float], first: int = 1) -> tuple[int, str] | None:
    """The round with which it ends, and why."""
    for number, accuracy in enumerate(accuracies, first):
        if why := stopping.measured(number, accuracy):
            return number, why
    return None


def rule(spec: RunSpec, accuracies: list[float]) -> tuple[int, str] | None:
    """The same, said in another way: for each round all improvements up to it, from the first round on."""
    for number in range(1, len(accuracies) + 1):
        improvements = [1]
        for later in range(2, number + 1):
            gain = accuracies[later - 1] - accuracies[improvements[-1] - 1]
            if gain > 0 and gain >= spec.min_improvement:
                improvements.append(later)
        if spec.target_accuracy and accuracies[number - 1] >= spec.target_accuracy:
            return number, "target"
        if number >= spec.rounds:
            return number, "rounds"
        if spec.patience and number - improvements[-1] >= spec.patience:
            return number, "patience"
    return None


@st.composite
def specs(draw: st.DrawFn, make_spec: MakeSpec) -> RunSpec:
    patience = draw(PATIENCE)
    return make_spec(
        rounds=draw(st.integers(1, 30)),
        patience=patience,
        min_improvement=draw(IMPROVEMENT) if patience else 0.0,
        target_accuracy=draw(TARGET),
    )


@given(st.data(), ACCURACIES)
def test_it_ends_by_the_rule(make_spec: MakeSpec, data: st.DataObject, accuracies: list[float]) -> None:
    spec = data.draw(specs(make_spec))
    assert ends(Stopping(spec), accuracies) == rule(spec, accuracies)


@given(st.data(), ACCURACIES)
def test_a_crash_resets_nothing(make_spec: MakeSpec, data: st.DataObject, accuracies: list[float]) -> None:
    spec = data.draw(specs(make_spec))
    whole = ends(Stopping(spec), accuracies)
    last = len(accuracies) if whole is None else whole[0]
    crash = data.draw(st.integers(0, last - 1))
    earlier = [
        RoundResult(round=number, accuracy=accuracy, test_samples=9)
        for number, accuracy in enumerate(accuracies[:crash], 1)
    ]
    assert ends(Stopping(spec, earlier), accuracies[crash:], crash + 1) == whole


def test_rounds_that_were_skipped_or_not_measured_count_as_gone_by(make_spec: MakeSpec) -> None:
    spec = make_spec(rounds=20, patience=3)
    unmeasured = RoundResult(round=3, accuracy=0.0)
    stopping = Stopping(spec, [RoundResult(round=2, accuracy=0.5, test_samples=9), unmeasured])
    assert stopping.measured(4, 0.5) == ""
    assert stopping.measured(7, 0.4) == "patience"


def test_small_steps_add_up_to_an_improvement(make_spec: MakeSpec) -> None:
    stopping: Any = Stopping(make_spec(rounds=20, patience=2, min_improvement=0.25))
    assert [stopping.measured(n, a) for n, a in enumerate([0.5, 0.625, 0.75, 0.875], 1)] == ["", "", "", ""]
    assert stopping.measured(5, 0.875) == "patience"
