"""What random-k costs in accuracy: digits-mlp, really trained, on the virtual clock."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from peerd.config import MixingConfig
from peerd.presets import TASK_DEFAULTS
from peerd.sim import Network, Settings, Training
from peerd.sphinx import Geometry
from peerd.training.session import open_learner
from peerd.types import RunSpec

TASK = "digits-mlp"
PEERS, ROUNDS = 16, 8
POINT = 0.01
COVERLESS = {"loop_rate_per_second": 0.0, "drop_rate_per_second": 0.0}
MIXING = MixingConfig(hops=1, mean_delay_seconds=0.01, **COVERLESS)


def make_spec(seed: int, **changes) -> RunSpec:
    settings = {"rounds": ROUNDS, "grace_seconds": 20.0, "streaming": 0.0}  # which digits-mlp has no use for
    fields = {**TASK_DEFAULTS[TASK], **settings, **changes}
    return RunSpec(run_id=32 * "7", task=TASK, seed=seed, round_timeout_seconds=60.0, **fields)


def simulate(spec: RunSpec, peers: int = PEERS) -> tuple[list[list[float]], int]:
    """Accuracy of every peer's own model after each round that it closed; fragments that came too late."""
    parameters = len(open_learner(spec, 0, peers).vector())
    training = Training(parameters=parameters, learner=lambda spec, place: open_learner(spec, place, peers))
    geometry = Geometry(max_hops=3, body_bytes=8192)
    net = Network(peers, 1, Settings(mixing=MIXING, geometry=geometry, training=training))
    net.run(5.0)
    net.announce(spec, 1)
    net.run(600.0, until=lambda: all(life.runs and life.runs[-1].ended for life in net.lives))
    statuses = [life.runs[-1].rounds.status for life in net.lives]
    assert {status.state for status in statuses} == {"finished"}
    late = sum(life.dropped_counts["round_past"] for life in net.lives)
    return [[result.accuracy for result in status.results] for status in statuses], late


def broadcast(spec: RunSpec, peers: int = PEERS) -> float:
    """After the last round. As `test_rounds` has it, the model is the mean of all peers' updates."""
    learners = [open_learner(spec, place, peers) for place in range(peers)]
    model = learners[0].vector()
    for number in range(1, spec.rounds + 1):
        updates = [learner.train(number, model)[0] for learner in learners]
        model = np.mean(updates, axis=0, dtype=np.float64).astype(np.float32)
    return learners[0].evaluate(model, 0).accuracy


@pytest.mark.parametrize(("peers", "rounds"), [(8, 6), pytest.param(PEERS, ROUNDS, marks=pytest.mark.soak)])
def test_random_k_is_within_a_point_of_broadcast(peers, rounds):
    spec = make_spec(1, rounds=rounds, dissemination="random-k", fanout=4)
    accuracies, late = simulate(spec, peers)
    own = fmean(each[-1] for each in accuracies)
    assert own >= broadcast(spec, peers) - POINT
    sent = peers * rounds * 3 * 4
    assert late < 0.05 * sent  # what is thrown away is lost work: a quarter, before rounds had patience


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 5))
def test_also_with_other_seeds_and_with_a_broadcast_that_is_sent(seed):
    few, _ = simulate(make_spec(seed, dissemination="random-k", fanout=4))
    everything, late = simulate(make_spec(seed))
    assert not late
    assert len({tuple(each) for each in everything}) == 1
    assert everything[0][-1] == pytest.approx(broadcast(make_spec(seed)), abs=1e-3)
    assert fmean(each[-1] for each in few) >= everything[0][-1] - POINT
