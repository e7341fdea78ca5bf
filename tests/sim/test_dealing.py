"""Where not everybody gets everything, rounds are complete all the same, and a peer's cost does not grow."""

from __future__ import annotations

import pytest

from peerd.config import MixingConfig
from peerd.sim import Network, Settings
from peerd.sim.settings import Training
from peerd.types import PacketKind, RunSpec

ROUNDS = 2


def train(peers: int, seed: int = 1, **changes):
    """The runs of all peers, and the messages that each has sent on average in a round."""
    mixing = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0, hops=2)
    net = Network(peers, seed, Settings(mixing=mixing, training=Training(parameters=2000)))
    spec = RunSpec(
        run_id=32 * "7", task="digits-cnn", rounds=ROUNDS, grace_seconds=20.0, round_timeout_seconds=60.0,
        **changes,
    )  # fmt: skip
    net.run(5.0)
    net.announce(spec, 1)
    net.run(300.0, until=lambda: all(life.runs and life.runs[-1].ended for life in net.lives))
    runs = [life.runs[-1] for life in net.lives]
    assert {run.rounds.status.state for run in runs} == {"finished"}
    sent = sum(life.sent[PacketKind.OWN] for life in net.lives)
    return runs, sent / peers / ROUNDS


def test_with_random_k_what_a_peer_sends_does_not_grow_with_the_network():
    costs = {}
    for peers in (6, 12):
        runs, costs[peers] = train(peers, dissemination="random-k", fanout=4)
        fragments, complete = runs[0].layout.fragments, 0
        for run in runs:
            for result in run.rounds.status.results:
                assert result.closed_by in ("complete", "grace")
                complete += result.closed_by == "complete"
                assert 0.7 * 4 * fragments < result.fragments_expected <= 4 * fragments
        assert complete >= 0.8 * peers * ROUNDS
        assert costs[peers] == pytest.approx(4 * fragments, rel=0.1)
    assert max(costs.values()) < 1.1 * min(costs.values())


def test_a_share_bounds_what_one_peer_gets():
    runs, cost = train(9, share=0.25)
    fragments = runs[0].layout.fragments
    assert cost == pytest.approx(2 * fragments, rel=0.1)
    for run in runs:
        for result in run.rounds.status.results:
            assert result.closed_by in ("complete", "grace")
            assert 0.7 * 2 * fragments < result.fragments_expected <= 2 * fragments
