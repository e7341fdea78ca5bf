"""The blending alarm: loops that do not come home while the links look alive."""

from __future__ import annotations

import pytest

from peerd.config import MixingConfig
from peerd.sphinx import Epochs

PEERS = 6
COVER = MixingConfig(loop_rate_per_second=1.0, drop_rate_per_second=0.1)


def alarms(net):
    return [index for index in range(PEERS) if net[index].mixnet.delivery.loops.alarm]


def watch(net, seconds):
    """Every peer that raised an alarm in that time."""
    raised = set()
    for _ in range(int(seconds)):
        net.run(1.0)
        raised |= set(alarms(net))
    return raised


@pytest.mark.parametrize("where", ["into it", "out of it"])
def test_a_relay_that_swallows_everything_raises_the_alarm_and_it_clears_after(network, where):
    net = network(PEERS, seed=1, mixing=COVER, dead_after=5.0)
    swallower = 3
    assert watch(net, 40.0) == set()
    net.drop = lambda source, target, _: swallower == (target if where == "into it" else source)
    others = set(range(PEERS)) - {swallower}
    raised = watch(net, 90.0)
    assert raised >= others  # three of five paths go by it
    for index in others:
        peer, loops = net[index], net[index].mixnet.delivery.loops
        assert len(peer.view.alive()) == PEERS - 1  # all links look alive: that is the attack
        worst = min(peer.view.peers(), key=lambda other: loops.quality(other))
        assert worst == net.ids[swallower]  # and it can be told who it is
        assert peer.loops_lost > 0
    net.drop = lambda *_: False
    net.run(90.0)
    assert alarms(net) == []
    assert watch(net, 60.0) == set()


def test_a_relay_that_holds_back_all_but_its_target_is_noticed_by_the_others(network):
    """The blending attack itself: only what comes from its target, 0, may pass the relay."""
    net = network(PEERS, seed=2, mixing=COVER)
    net.run(40.0)
    net.drop = lambda source, target, _: target == 3 and source != 0
    assert watch(net, 120.0) >= {1, 2, 4, 5}


@pytest.mark.parametrize("loss", [0.0, 0.02])
@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.soak)])
def test_no_alarm_in_ten_calm_minutes_nor_with_some_losses(network, loss, seed):
    mixing = MixingConfig(loop_rate_per_second=0.5, drop_rate_per_second=0.0)
    net = network(PEERS, seed=seed, mixing=mixing, loss=loss, epochs=Epochs(60.0, 10.0), skew_seconds=0.5)
    assert watch(net, 600.0) == set()
    losses = [net[index].mixnet.delivery.loops.loss for index in range(PEERS)]
    assert all(share is not None for share in losses)
    if not loss:
        assert losses == [0.0] * PEERS
        assert all(net[index].loops_lost == 0 for index in range(PEERS))


def test_a_peer_that_dies_is_no_attack(network):
    """Loops by it prove nothing: nobody holds them back."""
    net = network(PEERS, seed=6, mixing=COVER, dead_after=3.0)
    net.run(30.0)
    net.kill(3)
    raised = watch(net, 60.0)
    assert raised - {3} == set()


def test_a_partition_raises_no_alarm_where_links_are_down(network):
    net = network(8, seed=7, mixing=COVER, dead_after=3.0)
    net.run(30.0)
    net.partition(range(5), range(5, 8))
    raised = watch(net, 40.0)
    net.heal()
    assert raised | watch(net, 40.0) == set()
