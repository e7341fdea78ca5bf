"""Where not everybody gets everything, rounds are complete all the same, and a peer's cost does not grow."""

from __future__ import annotations

import pytest

from peerd.config import MixingConfig
from peerd.sim import Network, Settings
from peerd.sim.settings import Training
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


def link_bytes(net: Network, rounds: int) -> float:
    """Of packets, acknowledgements and relayed ones included, that each peer has put on its links on average
    in a round."""
    packets = sum(life.sent[kind] for life in net.lives for kind in OF_THE_RUN)
    return packets * net.settings.geometry.packet_bytes / len(net.lives) / rounds


@pytest.fixture(scope="module")
def costs():
    """Bytes on links of a peer and round, by the number of peers, of both ways of dissemination."""
    few, all_others = {}, {}
    for peers in (8, 16, 32, 64):
        net = train(peers, parameters=500, hops=HOPS, dissemination="random-k", fanout=4)
        few[peers] = link_bytes(net, ROUNDS)
        fragments, packet = runs_of(net)[0].layout.fragments, net.settings.geometry.packet_bytes
        assert few[peers] == pytest.approx(4 * fragments * 2 * (HOPS + 1) * packet, rel=0.1)
    for peers in (8, 16, 32):
        all_others[peers] = link_bytes(train(peers, parameters=100, rounds=1, hops=HOPS), 1)
    return few, all_others


def test_with_random_k_the_bytes_of_a_peer_and_round_are_flat_from_8_to_64_peers(costs):
    few, _ = costs
    mean = sum(few.values()) / len(few)
    assert all(cost == pytest.approx(mean, rel=0.1) for cost in few.values()), few


def test_with_broadcast_they_grow_with_the_network(costs):
    _, all_others = costs
    for peers, cost in all_others.items():
        assert cost / all_others[8] == pytest.approx((peers - 1) / 7, rel=0.1)


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
