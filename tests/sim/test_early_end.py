"""Runs that end before their last round, in a whole simulated network."""

from __future__ import annotations

import pytest

from peerd.sim.network import Network
from peerd.sim.settings import Settings
from peerd.types import RunSpec

SPEC = RunSpec(
    run_id="ab" * 16, task="digits-cnn", rounds=9, patience=2, test_samples=5,
    grace_seconds=2.0, round_timeout_seconds=20.0,
)  # fmt: skip
"""The simulated trainers measure the same in every round."""


@pytest.mark.parametrize("seed", range(3))
def test_all_end_with_the_same_round_and_model(seed):
    net = Network(6, seed, Settings())
    net.at(0.5, lambda: net.announce(SPEC, 0, join_seconds=3.0))
    net.run(90.0)
    runs = [net[place].runs[-1] for place in range(6)]
    assert [run.state for run in runs] == ["finished"] * 6
    assert {(run.rounds.status.round, run.rounds.status.ended_by) for run in runs} == {(3, "patience")}
    assert len({run.models[3].tobytes() for run in runs}) == 1
    others = net[1].view.taking_part(bytes.fromhex(SPEC.run_id))
    assert {number for _, number in others} == {-3}
