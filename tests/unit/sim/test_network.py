"""The simulated links: dialled, lost, dialled again; and who is frozen, cut off or not there at all."""

from __future__ import annotations

import pytest

from peerd.config import LinkConfig, MembershipConfig, MixingConfig
from peerd.membership.messages import Records, decode
from peerd.sim import Network, Settings
from peerd.sphinx import Geometry
from peerd.types import DropReason

LINK = LinkConfig(dead_after_seconds=2.0, keepalive_seconds=0.5, connect_timeout_seconds=1.0)
QUIET = MixingConfig(hops=1, mean_delay_seconds=0.01, loop_rate_per_second=0.0, drop_rate_per_second=0.0)


@pytest.fixture
def net():
    settings = Settings(
        mixing=QUIET,
        link=LINK,
        geometry=Geometry(max_hops=1, body_bytes=1024),
        membership=MembershipConfig(dead_after_seconds=2.0),
    )
    network = Network(4, 1, settings)
    network.run(2.0)
    return network


def linked(net, place):
    """Where the links of a host lead."""
    return {net_place(net, peer) for peer in net[place].links.neighbours}


def net_place(net, peer):
    return next(host.index for host in net.hosts if host.peer_id == peer)


def send(net, source, target, payload=b"x"):
    """A cell on the link, past everything else."""
    return net[source]._emit(net.hosts[target].peer_id, payload)


def arrivals(net, place):
    seen = []
    net[place].take_packet = seen.append
    return seen


def test_all_are_linked_both_ways(net):
    assert all(linked(net, place) == set(range(4)) - {place} for place in range(4))
    assert net.is_up(3)
    assert [daemon.place for daemon in net.daemons] == [0, 1, 2, 3]


def test_a_killed_daemon_is_missed_at_once_and_dialled_until_it_is_back(net):
    net.crash(3)
    assert send(net, 0, 3) is None  # nobody knows yet
    net.run(0.1)
    assert 3 not in linked(net, 0)
    assert send(net, 0, 3) is DropReason.LINK_DOWN
    net.run(5.0)
    assert net.restart(3)
    net.run(0.5)  # it dials, and that wakes those who wait for their backoff
    assert linked(net, 0) == {1, 2, 3}
    assert net.lives[3].ended == "killed"
    net.crash(3)
    with pytest.raises(KeyError):
        net.crash(3)


def test_a_short_cut_holds_cells_up_and_a_long_one_loses_them(net):
    seen = arrivals(net, 1)
    net.partition([0], [1, 2, 3])
    assert send(net, 0, 1, b"first") is None
    net.run(1.0)
    assert seen == []
    net.heal()
    net.run(0.1)
    assert seen == [b"first"]
    assert 1 in linked(net, 0)

    net.partition([0], [1, 2, 3])
    assert send(net, 0, 1, b"second") is None
    net.run(2.5)
    assert linked(net, 0) == set()
    assert linked(net, 1) == {2, 3}
    net.heal()
    net.run(10.0)
    assert linked(net, 0) == {1, 2, 3}
    assert seen == [b"first"]


def test_who_is_cut_off_for_long_is_dead_to_the_others_and_they_to_it(net):
    net.partition([0], [1, 2, 3])
    net.run(6.0)
    for one, other in ((0, 1), (1, 0)):
        assert net[one].view.state(net.hosts[other].peer_id)[0] == "dead"
    net.heal()
    net.run(12.0)
    assert net[0].view.state(net.hosts[1].peer_id)[0] == "alive"


def test_a_frozen_daemon_does_nothing_and_finds_what_has_come_when_it_goes_on(net):
    cells = []
    seen = arrivals(net, 2)
    net.freeze(2)
    net.drop = lambda source, _target, _cell: cells.append(source) and False
    assert send(net, 0, 2, b"early") is None
    net.run(1.0)
    assert seen == [b"early"]  # in its kernel: take_packet is what the link calls
    assert 2 not in cells
    net.run(2.0)
    assert 2 not in linked(net, 0)
    assert linked(net, 2) == {0, 1, 3}  # it has not looked
    net.thaw(2)
    net.run(3.0)
    assert linked(net, 2) == {0, 1, 3}
    assert linked(net, 0) == {1, 2, 3}


def test_a_frozen_daemon_takes_packets_later(net):
    packets = []
    net[2].mixnet.arrived = lambda packet, now: packets.append((packet, now))
    net.freeze(2)
    send(net, 0, 2)
    net.run(1.0)
    assert packets == []
    net.thaw(2)
    assert packets == [(b"x", net.now)]


def test_a_dial_to_nobody_to_a_frozen_one_and_to_somebody_else(net):
    newcomer = net.join(contact=3)
    net.freeze(3)
    net.run(3.0)
    assert linked(net, newcomer) == set()
    net.crash(3)
    net.run(3.0)
    assert linked(net, newcomer) == set()
    assert net.restart(3)
    net.run(5.0)
    assert linked(net, newcomer) == {0, 1, 2, 3}


def test_a_second_connection_of_one_peer_takes_the_place_of_the_first(net):
    first = net[0].links._inbound[net.hosts[1].peer_id]
    second = net[0].links.accept(net[1])
    assert first.closed_by is net[0]
    assert net[0].links._inbound[net.hosts[1].peer_id] is second


def test_strangers_and_the_revoked_are_refused(net):
    other = Network(2, 2, net.settings)
    assert net[0].links.accept(net[0]) is None  # oneself
    net.revoke(3, told=0)
    net.run(1.0)
    assert net[0].links.accept(net.lives[3]) is None
    assert net[0].dropped_counts[DropReason.REVOKED_PEER] >= 2
    assert other.hosts[0].peer_id not in net[0].view.peers()


def test_what_is_on_disk_is_a_second_old_at_most(net):
    before = net.hosts[0].roster
    net.join(contact=0)
    net.run(0.5)
    net.crash(0)
    assert net.hosts[0].roster == before
    net.restart(0)
    net.run(2.0)
    assert len(net.hosts[0].roster) > len(before)


def test_gossip_is_heard_by_whom_it_is_told(net):
    cells = []
    net.drop = lambda _source, _target, cell: cells.append(cell) and False
    net.run(2.0)
    assert all(decode(cell) is not None for cell in cells)
    net.join(contact=0)
    net.run(3.0)
    assert any(isinstance(decode(cell), Records) for cell in cells if decode(cell) is not None)
    before = net[1].dropped_counts[DropReason.BAD_GOSSIP]
    net.gossip(0, 1, b"garbage")
    assert net[1].dropped_counts[DropReason.BAD_GOSSIP] == before + 1
