"""Who is there, as all see it: joining, leaving, dying, coming back, being revoked, on the virtual clock."""

from __future__ import annotations

from collections import Counter, deque

import pytest

from peerd.config import DeliveryConfig, LinkConfig, MembershipConfig, MixingConfig
from peerd.membership.messages import Records, decode
from peerd.sim import Network, Settings, SimDaemon, Training
from peerd.sim.host import Host
from peerd.sim.verifier import SharedVerifier
from peerd.sphinx import Epochs, Geometry
from peerd.types import DropReason, RunSpec

DEAD_AFTER = 3.0
LINK_DEAD = 2.5
SETTLED = 4.0
"""By then everybody is linked to everybody."""
RUN = f"{7:016x}" + 16 * "0"


def settings(epochs: Epochs | None = None, **training) -> Settings:
    return Settings(
        mixing=MixingConfig(
            hops=1, mean_delay_seconds=0.02, loop_rate_per_second=0.0, drop_rate_per_second=0.0
        ),
        delivery=DeliveryConfig(
            initial_timeout_seconds=1.0, min_timeout_seconds=0.5, max_timeout_seconds=6.0
        ),
        membership=MembershipConfig(dead_after_seconds=DEAD_AFTER),
        link=LinkConfig(
            dead_after_seconds=LINK_DEAD, keepalive_seconds=0.5, connect_timeout_seconds=2.0
        ),
        geometry=Geometry(max_hops=2, body_bytes=1024),
        epochs=epochs or Epochs(600.0, 30.0),
        training=Training(**training),
    )  # fmt: skip


def run_spec(rounds=4, **more) -> RunSpec:
    fields = {"grace_seconds": 2.0, "round_timeout_seconds": 20.0} | more
    return RunSpec(run_id=RUN, task="digits-cnn", rounds=rounds, **fields)


@pytest.fixture
def net():
    network = Network(6, 1, settings())
    network.run(SETTLED)
    return network


def states(net, place):
    """How the others see the peer of a host."""
    peer = net.hosts[place].peer_id
    return [d.view.state(peer)[0] for d in net.daemons if d.peer_id != peer]


def seen(net, place):
    return set(states(net, place))


def run_to_its_end(net, seconds=120.0):
    net.run(
        seconds, until=lambda: all(d.participation.run and d.participation.run.ended for d in net.daemons)
    )
    assert all(daemon.participation.run.state == "finished" for daemon in net.daemons)
    assert net.ledger.faults == []


def test_the_founders_find_each_other(net):
    for daemon in net.daemons:
        assert len(daemon.view.alive()) == len(daemon.links.neighbours) == len(daemon.links.inbound) == 5
    assert len({daemon.members.roster.summary() for daemon in net.daemons}) == 1


def test_a_newcomer_knows_one_address_and_then_everybody(net):
    place = net.join(contact=3)
    assert len(net[place].view.peers()) == 1
    net.run(5.0)
    assert seen(net, place) == {"alive"}
    assert len(net[place].view.alive()) == 6


def test_who_leaves_is_missed_by_nobody(net):
    net.announce(run_spec(), 0)
    net.run(3.0)
    net.leave(2)
    net.run(1.0)
    assert net.is_up(2)
    assert seen(net, 2) == {"left"}
    run_to_its_end(net)
    assert net.lives[2].ended == "drained"
    assert net.ledger.open(2) == 0
    net.run(DEAD_AFTER + LINK_DEAD)
    assert seen(net, 2) == {"left"}  # its link is down: no loss
    for daemon in net.daemons:
        results = daemon.participation.run.rounds.status.results
        assert all(result.exchange_seconds < DEAD_AFTER for result in results)
        assert results[-1].cohort == 5


def test_who_left_comes_back(net):
    net.leave(2)
    net.run(10.0)
    assert not net.is_up(2)
    assert net.restart(2)
    net.run(2.0)
    assert seen(net, 2) == {"alive"}


def test_who_left_to_be_upgraded_takes_up_its_run_again(net):
    net.announce(run_spec(rounds=10), 0)
    net.run(4.0)
    net.leave(2)
    net.run(20.0, until=lambda: not net.is_up(2))
    before = max(net.lives[2].participation.run.models)
    assert net.restart(2)
    run_to_its_end(net)
    run = net[2].participation.run
    assert min(run.models) > before
    assert max(run.models) == 10


def test_a_crash_is_suspected_at_once_and_waited_for_no_longer_than_it_takes(net):
    net.announce(run_spec(), 0)
    net.run(3.0)
    net.crash(4)
    net.run(0.5)
    assert seen(net, 4) == {"suspect"}
    assert all(net.hosts[4].peer_id not in daemon.view.alive() for daemon in net.daemons)
    net.run(DEAD_AFTER - 0.6)
    assert seen(net, 4) == {"suspect"}
    net.run(0.6)
    assert seen(net, 4) == {"dead"}
    run_to_its_end(net)
    for daemon in net.daemons:
        results = daemon.participation.run.rounds.status.results
        assert len(results) == 4
        assert all(result.exchange_seconds < DEAD_AFTER + 2.0 for result in results)


def test_who_crashed_comes_back_to_its_run(net):
    net.announce(run_spec(rounds=8), 0)
    net.run(8.0)
    before = net[4].participation.run.models
    net.crash(4)
    net.run(1.0)
    assert net.restart(4)
    run_to_its_end(net)
    run = net[4].participation.run
    assert min(run.models) > max(before)  # from its checkpoint on
    assert max(run.models) == 8
    assert sum(not result.listened for result in run.rounds.status.results) >= 1


@pytest.mark.parametrize("seconds", [1.0, 9.0])
def test_who_is_frozen_is_lost_only_if_it_lasts(net, seconds):
    net.announce(run_spec(rounds=6, round_timeout_seconds=30.0), 0)
    net.run(3.0)
    net.freeze(1)
    others = Counter()
    for _ in range(int(seconds * 10)):
        net.run(0.1)
        others.update(states(net, 1))
    assert ("dead" in others) == ("suspect" in others) == (seconds > LINK_DEAD + DEAD_AFTER)
    net.thaw(1)
    net.run(3.0)
    assert seen(net, 1) == {"alive"}
    run_to_its_end(net)


def test_halves_go_on_and_meet_again():
    net = Network(8, 1, settings(seconds=(0.5, 1.0)))
    net.run(SETTLED)
    net.announce(run_spec(rounds=12), 0)
    net.run(4.0)
    net.partition(range(4), range(4, 8))
    net.run(LINK_DEAD + DEAD_AFTER + 0.5)
    for daemon in net.daemons:
        here = range(4) if daemon.place < 4 else range(4, 8)
        others = {net.hosts[place].peer_id for place in here} - {daemon.peer_id}
        assert set(daemon.view.living()) == others
    rounds = {daemon.place: daemon.participation.run.rounds.status.round for daemon in net.daemons}
    net.run(4.0)
    assert all(d.participation.run.rounds.status.round > rounds[d.place] for d in net.daemons)
    net.heal()
    net.run(12.0)
    assert all(len(daemon.view.alive()) == 7 for daemon in net.daemons)
    run_to_its_end(net)
    assert {daemon.participation.run.rounds.status.results[-1].cohort for daemon in net.daemons} == {8}


def test_the_revoked_are_out_within_seconds_and_stay_out(net):
    cells = []
    net.drop = lambda _source, _target, cell: cells.append(cell)
    net.join(contact=0)
    net.run(5.0)
    revoked = net.hosts[5].peer_id
    net.revoke(5, told=0)
    net.run(1.0)
    for daemon in net.daemons:
        if daemon.peer_id != revoked:
            assert daemon.view.state(revoked)[0] == "revoked"
            assert revoked not in daemon.view.alive()
            assert revoked not in daemon.links.neighbours
            assert revoked not in daemon.links.inbound
    others = [daemon.place for daemon in net.daemons if daemon.peer_id != revoked]
    before = {net[place].members.roster.summary() for place in others}
    assert len(before) == 1
    old = [cell for cell in cells if isinstance(decode(cell), Records)]
    for number, cell in enumerate(old):
        net.gossip(5, others[number % len(others)], cell)
        net.gossip(others[0], others[1 + number % (len(others) - 1)], cell)
    net.run(10.0)
    assert {net[place].members.roster.summary() for place in others} == before
    assert sum(net[place].dropped_counts[DropReason.REVOKED_PEER] for place in others) > 0
    assert all(revoked not in net[place].links.inbound for place in others)


def test_the_revoked_do_not_start_again(net):
    net.revoke(5, told=5)
    net.run(1.0)
    assert net.lives[5].ended == "revoked"
    net.run(2.0)
    assert not net.restart(5)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_of_two_instances_the_newer_goes_on(net, elsewhere):
    copy = net.clone(2, elsewhere=elsewhere)
    net.run(10.0)
    assert net.lives[2].ended == "another instance was started later"
    assert net.is_up(copy)
    net.run(12.0)
    assert seen(net, copy) == {"alive"}
    assert len(net[copy].view.alive()) == 5


def test_of_two_instances_that_were_started_in_the_same_second_one_goes_on(net):
    newcomer = net.join(contact=1)
    copy = net.clone(newcomer, elsewhere=True)
    net.run(10.0)
    assert net.is_up(newcomer) != net.is_up(copy)
    net.run(12.0)
    assert seen(net, copy) == {"alive"}


def test_of_two_instances_that_were_apart_the_newer_goes_on():
    net = Network(7, 1, settings(Epochs(10.0, 3.0)))
    net.run(SETTLED)
    net.partition([0, 1, 3, 4, 5, 6], [2])
    copy = net.clone(2)
    net.run(22.0)  # both have rotated their keys, in the same second
    assert net.is_up(2)
    net.heal()
    net.run(25.0)
    assert not net.is_up(2)
    assert net.is_up(copy)
    net.run(12.0, until=lambda: seen(net, copy) == {"alive"})
    assert seen(net, copy) == {"alive"}


def test_a_clock_that_is_set_back_over_a_restart_ends_nobody(net):
    net.run(2.0)
    net.crash(2)
    net.set_skew(2, -20.0)
    assert net.restart(2)
    net.run(5.0)
    assert net.is_up(2)
    assert seen(net, 2) == {"alive"}


def test_clocks_that_differ_are_noticed():
    net = Network(6, 1, settings())
    net.set_skew(2, 3.0)
    net.run(20.0)
    peer = net.hosts[2].peer_id
    told = [daemon.members.skews.get(peer) for daemon in net.daemons if daemon.place != 2]
    assert all(skew is not None and 2.5 < skew <= 3.0 for skew in told)
    assert all(-3.1 < skew < -2.9 for skew in net[2].members.skews.values())


def test_keys_change_and_everybody_stays():
    net = Network(6, 1, settings(Epochs(8.0, 3.0)), skew_seconds=1.0)
    net.run(SETTLED)
    for _ in range(40):
        net.run(1.0)
        assert all(len(daemon.view.alive()) == 5 for daemon in net.daemons)


def test_in_quiet_each_says_one_thing_an_interval(net):
    net.run(5.0)
    before = sum(sum(daemon.sent.values()) for daemon in net.daemons)
    net.run(20.0)
    assert sum(sum(daemon.sent.values()) for daemon in net.daemons) - before in range(110, 131)


def weight(daemon):
    """Entries of all containers that the cores of a daemon hold."""
    count, seen = 0, set()
    todo = [daemon.members, daemon.links, daemon.mixnet, daemon.participation]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, SimDaemon | Network | Host | SharedVerifier):
            continue
        seen.add(id(thing))
        if isinstance(thing, dict | list | set | frozenset | deque | tuple):
            count += len(thing)
            todo += [*thing, *(thing.values() if isinstance(thing, dict) else ())]
        elif type(thing).__module__.startswith("peerd."):
            slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
            todo += [*getattr(thing, "__dict__", {}).values(), *(getattr(thing, name) for name in slots)]
    return count


def test_nothing_grows_with_comings_and_goings(net):
    def rounds(count):
        for number in range(count):
            victim = 1 + number % 5
            net.crash(victim)
            net.run(4.0)
            net.restart(victim)
            net.run(4.0)
            net.partition([0], range(1, 6))
            net.run(4.0)
            net.heal()
            net.run(20.0)
        return weight(net[0])

    before = rounds(30)  # so long that losses are old enough to be forgotten
    assert rounds(30) <= 1.05 * before
    assert len(net._events) < 300
    assert len(net._open) < 100


def test_gossip_is_a_part_of_the_digest(net):
    other = Network(6, 1, settings())
    other.run(SETTLED)
    assert net.digest() == other.digest()
    net.run(5.0)
    assert net.digest() != other.digest()
