"""Where not everybody gets everything, rounds are complete all the same, and a peer's cost does not grow."""

from __future__ import annotations

import pytest
from plays.learners import enrol, until_all_finish

from peerd.config import MixingConfig
from peerd.sim import Network, Settings
from peerd.sim.settings import Training
from peerd.sphinx import Geometry
from peerd.types import PacketKind, RunSpec

ROUNDS = 2
HOPS = 3
OF_THE_RUN = (PacketKind.OWN, PacketKind.FORWARDED, PacketKind.ACK)


def train(
    peers: int, *, parameters: int = 2000, rounds: int = ROUNDS, hops: int = 2, seed: int = 1, **changes
):
    """The network of a run, when it is over and nothing of it is on its way any more."""
    mixing = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0, hops=hops)
    net = Network(peers, seed, Settings(mixing=mixing, training=Training(parameters=parameters)))
    spec = RunSpec(
        run_id=32 * "7", task="synthetic", rounds=rounds, grace_seconds=20.0, round_timeout_seconds=60.0,
        **changes,
    )  # fmt: skip
    net.run(5.0)
    net.announce(spec, 1)
    net.run(300.0, until=lambda: all(life.runs and life.runs[-1].ended for life in net.lives))
    assert {run.rounds.status.state for run in runs_of(net)} == {"finished"}
    net.run(5.0)
    return net


def runs_of(net: Network):
    return [life.runs[-1] for life in net.lives]


def messages(net: Network, rounds: int = ROUNDS) -> float:
    """That each peer has sent on average in a round, resends included."""
    return sum(life.sent[PacketKind.OWN] for life in net.lives) / len(net.lives) / rounds


def cost(network, peers: int, rounds: int, **changes):
    """Of one peer and round in bytes on links, of a network whose peers know each other already: gossip among
    64 peers takes longer than their rounds."""
    mixing = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0, hops=HOPS)
    net = network(peers, seed=1, mixing=mixing, latency_seconds=0.02)
    course = enrol(net, peers, rounds, grace_seconds=20.0, **changes)
    for learner in course.values():
        learner.seconds = net.rng.uniform(0.5, 1.5)
    until_all_finish(net, course.values())
    net.run(5.0)
    fragments = course[0].layout.fragments
    packets = sum(net[index].sent[kind] for index in range(peers) for kind in OF_THE_RUN)
    return packets * Geometry(max_hops=5, body_bytes=1024).packet_bytes / peers / rounds, fragments


@pytest.mark.parametrize("most", [32, pytest.param(64, marks=pytest.mark.soak)])
def test_with_random_k_the_bytes_of_a_peer_and_round_are_flat_from_8_peers_to(network, most):
    found = {
        peers: cost(network, peers, rounds, dissemination="random-k", fanout=4)
        for peers, rounds in ((8, 4), (16, 3), (32, 2), (64, 1))
        if peers <= most
    }
    mean = sum(cost for cost, _ in found.values()) / len(found)
    for cost_of_one, fragments in found.values():
        assert fragments > 1
        assert cost_of_one == pytest.approx(mean, rel=0.1), found
        packet = Geometry(max_hops=5, body_bytes=1024).packet_bytes
        assert cost_of_one == pytest.approx(4 * fragments * 2 * (HOPS + 1) * packet, rel=0.1)


def test_with_broadcast_they_grow_with_the_network(network):
    few, many = (cost(network, peers, 1)[0] for peers in (8, 24))
    assert many / few == pytest.approx(23 / 7, rel=0.1)


def test_with_random_k_rounds_are_complete_all_the_same():
    for peers in (6, 12):
        net = train(peers, dissemination="random-k", fanout=4)
        fragments, complete = runs_of(net)[0].layout.fragments, 0
        for run in runs_of(net):
            for result in run.rounds.status.results:
                assert result.closed_by in ("complete", "grace")
                complete += result.closed_by == "complete"
                assert 0.7 * 4 * fragments < result.fragments_expected <= 4 * fragments
        assert complete >= 0.8 * peers * ROUNDS
        assert messages(net) == pytest.approx(4 * fragments, rel=0.1)


def test_a_share_bounds_what_one_peer_gets():
    net = train(9, share=0.25)
    fragments = runs_of(net)[0].layout.fragments
    assert messages(net) == pytest.approx(2 * fragments, rel=0.1)
    for run in runs_of(net):
        for result in run.rounds.status.results:
            assert result.closed_by in ("complete", "grace")
            assert 0.7 * 2 * fragments < result.fragments_expected <= 2 * fragments
