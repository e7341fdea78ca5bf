"""The simulator's own promises: time, links, deaths, partitions, and nothing but the seed."""

from __future__ import annotations

import pytest

from peerd.config import DeliveryConfig, MixingConfig
from peerd.sim import World
from peerd.sphinx import Epochs
from peerd.types import DropReason, PacketKind

FAST = MixingConfig(
    mean_delay_seconds=0.001, max_delay_seconds=1.0, loop_rate_per_second=0.0, drop_rate_per_second=0.0
)


@pytest.fixture
def world():
    return World(6, 1, mixing=FAST)


def test_everybody_sees_everybody_at_the_start(world):
    assert len(world.ids) == len(set(world.ids)) == 6
    for index in range(6):
        assert set(world[index].view.alive()) == set(world.ids) - {world.ids[index]}
        assert world.peers[world.ids[index]] is world[index]


def test_time_passes_without_events_and_stops_where_it_is_told(world):
    world.run(5.0)
    assert world.now == 5.0
    seen = []
    for when in (7.0, 6.0, 6.0):
        world.at(when, lambda when=when: seen.append((world.now, when)))
    world.run(1.5)
    assert (world.now, seen) == (6.5, [(6.0, 6.0), (6.0, 6.0)])
    world.run(100.0, until=lambda: len(seen) == 3)
    assert world.now == 7.0


def test_a_refused_message_is_an_error_of_the_caller():
    world = World(6, 1, mixing=FAST, delivery=DeliveryConfig(queue_limit=1))
    world.send(0, 1, b"x")
    with pytest.raises(RuntimeError, match="send_queue_full"):
        world.send(0, 1, b"y")


def test_a_link_keeps_order_and_its_delay():
    world = World(3, 1, mixing=FAST, latency_seconds=0.1)
    arrived = []
    world[1].mixnet.arrived = lambda packet, now: arrived.append((now, packet))
    for number in range(50):
        world.at(number * 0.001, lambda n=number: world._emit(world[0], world.ids[1], b"%d" % n))
    world.run(1.0)
    assert [packet for _, packet in arrived] == [b"%d" % number for number in range(50)]
    assert arrived[0][0] >= 0.05
    assert arrived[-1][0] <= 0.049 + 0.15


def test_losses_drops_and_copies(world):
    seen = []
    world.drop = lambda source, target, packet: seen.append((source, target, len(packet))) or target == 4
    world.send(0, 5, b"x")
    world.run(300.0, until=lambda: world[0].acked)
    assert {length for _, _, length in seen} == {world._geometry.packet_bytes}
    assert all(source != 4 for source, _, _ in seen)
    assert world[5].received == [b"x"]  # resent by another path, if need be

    world.drop = lambda *_: False
    world.loss = 1.0
    before = world[1].dropped.total()
    world.send(0, 1, b"y")
    world.run(5.0)
    assert world[1].received == []
    assert world[1].dropped.total() == before


def test_somebody_may_hand_in_a_packet(world):
    packets = []
    world.drop = lambda source, target, packet: packets.append((target, packet))
    world.send(0, 1, b"x")
    world.run(5.0)
    target, packet = packets[0]
    world.inject(target, packet)
    world.inject(2, b"garbage")
    world.run(1.0)
    assert world[target].dropped[DropReason.REPLAY] == 1
    assert world[2].dropped[DropReason.BAD_SIZE] == 1


def test_the_dead_say_and_hear_nothing(world):
    world.kill(5)
    assert all(world[i].view.state(world.ids[5])[0] == "suspect" for i in range(5))
    assert all(world.ids[5] not in world[i].view.alive() for i in range(5))
    world.run(0.0)
    assert all(world[i].view.state(world.ids[5])[0] == "dead" for i in range(5))
    assert world._emit(world[0], world.ids[5], b"x") is DropReason.LINK_DOWN
    world.send(0, 1, b"x")
    world.run(30.0)
    assert sum(world[5].sent.values()) == 0
    assert world[1].received == [b"x"]


def test_dead_after(world):
    world = World(6, 1, mixing=FAST, dead_after=4.0)
    world.run(1.0)
    world.kill(5)
    world.run(3.999)
    assert world[0].view.state(world.ids[5])[0] == "suspect"
    world.run(0.001)
    assert world[0].view.state(world.ids[5])[0] == "dead"
    world.restart(5)
    assert world[0].view.state(world.ids[5])[0] == "alive"
    assert len(world[5].view.alive()) == 5


def test_two_deaths_in_a_row_are_each_noticed_in_time():
    world = World(6, 1, mixing=FAST, dead_after=4.0)
    world.kill(5)
    world.run(1.0)
    world.kill(4)
    world.run(3.0)
    assert set(world[0].view.alive()) == {world.ids[i] for i in (1, 2, 3)}
    assert [world[0].view.state(world.ids[i])[0] for i in (4, 5)] == ["suspect", "dead"]
    world.run(1.0)
    assert [world[0].view.state(world.ids[i])[0] for i in (4, 5)] == ["dead", "dead"]


def test_a_restart_keeps_identity_keys_and_tags_and_nothing_else(world):
    peer = world[2]
    world.send(2, 3, b"unsent")
    kept = {key.epoch: key for key in peer.keyring}
    mixnet, view, identity = peer.mixnet, peer.view, peer.peer_id
    world.kill(2)
    world.restart(2)
    assert {key.epoch: key for key in peer.keyring} == kept
    assert peer.peer_id == identity
    assert peer.mixnet is not mixnet
    assert peer.view is not view
    assert peer.mixnet.delivery.queued == 0
    world.run(10.0)
    assert world[3].received == []


def test_a_partition_and_its_end():
    world = World(8, 1, mixing=FAST, dead_after=0.5)
    world.partition([0, 1, 2, 3, 4], [5, 6])
    world.run(1.0)
    assert set(world[0].view.alive()) == {world.ids[i] for i in (1, 2, 3, 4, 7)}  # 7 stays with the first
    assert set(world[5].view.alive()) == {world.ids[6]}
    assert world._emit(world[0], world.ids[6], b"x") is DropReason.LINK_DOWN
    world.send(0, 1, b"within")
    world.run(5.0)
    assert world[1].received == [b"within"]
    world.heal()
    for index in range(8):
        assert len(world[index].view.alive()) == 7
    world.send(0, 6, b"across")
    world.run(5.0)
    assert world[6].received == [b"across"]


def test_mixing_of_some_only(world):
    slow = MixingConfig(strategy="timed", loop_rate_per_second=0.0, drop_rate_per_second=0.0)
    world.set_mixing(slow, only=[1, 2])
    names = [world[index].mixnet._strategy.name for index in range(6)]
    assert names == ["exponential", "timed", "timed", "exponential", "exponential", "exponential"]


def test_the_meter(world):
    assert world.meter_bits() == 0.0
    for sender in range(6):
        world.send(sender, (sender + 1) % 6, b"x")
    world.run(5.0)
    assert 0.0 < world.meter_bits() < 6.0
    world.reset_meters()
    assert world.meter_bits() == 0.0


def test_epochs_go_by_and_clocks_differ():
    world = World(6, 2, mixing=FAST, epochs=Epochs(5.0, 1.0), skew_seconds=0.5)
    world.run(4.9)
    first = [max(key.epoch for key in world[i].keyring) for i in range(6)]
    world.run(0.1)
    skewed = {world[i].descriptor.mix_keys[0][0] for i in range(6)}
    assert len(skewed) == 2  # some are in the next epoch already
    world.run(10.5)
    last = [max(key.epoch for key in world[i].keyring) for i in range(6)]
    assert all(later - earlier in (2, 3) for earlier, later in zip(first, last, strict=True))
    for index in range(6):
        for other in world[index].view.peers():
            assert world[index].view.mix_key(other) is not None
        assert len(world[index].view.alive()) == 5


def test_kinds_are_counted(world):
    world.send(0, 1, b"x")
    world.run(10.0)
    assert world[0].sent[PacketKind.OWN] == 1
    assert world[1].sent[PacketKind.ACK] == 1
    assert sum(peer.sent[PacketKind.FORWARDED] for peer in world.peers.values()) == 6


def test_another_seed_is_another_world():
    digests = set()
    for seed in (1, 1, 2):
        world = World(6, seed, mixing=FAST)
        world.send(0, 1, b"x")
        world.run(5.0)
        digests.add(world.digest())
    assert len(digests) == 2
