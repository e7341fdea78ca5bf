from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import gossip as gossip_module
from peerd.membership.gossip import CELLS_BURST, CELLS_PER_SECOND, Gossip
from peerd.membership.messages import (
    Records,
    Summary,
    Wanted,
    decode,
    encode_digests,
    encode_records,
    encode_summary,
    encode_wanted,
)
from peerd.membership.records import Kind, key_of, peek
from peerd.types import DropReason

CELL = 4096
INTERVAL = 1.0


def kinds(cells):
    return [type(decode(data)).__name__ for *_, data in cells]


# -- quiet --------------------------------------------------------------------------------------------


def test_in_quiet_it_is_one_cell_an_interval(net):
    moments = []
    for _ in range(200):
        before = net.sent
        net.tick()
        moments.append(net.sent - before)
    # Every peer draws the moment of each interval anew: over many it is one each.
    assert sum(moments) == pytest.approx(5 * 200, abs=5)
    assert all(not heard.records and not heard.refused for heard in net.heard)


def test_each_interval_has_one_moment_at_random(lab):
    roster = lab.roster()
    gossip = Gossip(roster, CELL, 4.0, random.Random(1), 100.0)
    moments = []
    while len(moments) < 1000:
        now = gossip.next_deadline()
        assert gossip.tick([], math.nextafter(now, 0.0), 0.0) == []
        assert gossip.next_deadline() == now
        gossip.tick([], now, 0.0)
        moments.append(now)
    assert [int((moment - 100.0) // 4.0) for moment in moments] == list(range(1000))
    ordered = sorted((moment - 100.0) % 4.0 / 4.0 for moment in moments)
    distance = max(max(x - i / 1000, (i + 1) / 1000 - x) for i, x in enumerate(ordered))
    assert distance < 1.63 / math.sqrt(1000)  # Kolmogorov and Smirnov, 1 %


def test_after_a_stall_there_is_no_burst(net):
    gossip, others = net.gossips[net.peers[0]], net.others(net.peers[0])
    now = net.now + 1e6
    assert sum(len(gossip.tick(others, now, net.wall)) for _ in range(10)) <= 2


def test_neighbours_are_asked_alike(net):
    me = net.peers[0]
    gossip, counts = net.gossips[me], dict.fromkeys(net.others(me), 0)
    for _ in range(2000):
        (tell,) = gossip.tick(net.others(me), gossip.next_deadline(), net.wall)
        counts[tell.to] += 1
    assert all(430 < count < 570 for count in counts.values())  # 500, give or take 3.6 sigma


def test_a_set_of_neighbours_has_the_same_order_in_every_process(net):
    me = net.peers[0]
    asked = []
    for neighbours in (sorted(net.others(me)), frozenset(net.others(me))):
        gossip = Gossip(net.rosters[me], CELL, INTERVAL, random.Random(7), 0.0)
        asked.append([gossip.tick(neighbours, gossip.next_deadline(), 0.0)[0].to for _ in range(20)])
    assert asked[0] == asked[1]


def test_alone_there_is_nothing_to_say(net):
    gossip = net.gossips[net.peers[0]]
    assert gossip.tick([], gossip.next_deadline(), net.wall) == []
    assert gossip.publish(net.rosters[net.peers[0]].records(), [], net.now) == []


# -- exchanges ----------------------------------------------------------------------------------------


def test_one_exchange_settles_both_sides(lab, make_net):
    net = make_net(
        [lab.certificate(0), lab.certificate(2), lab.descriptor(2, version=3)],
        [lab.certificate(0), lab.certificate(1), lab.certificate(2), lab.descriptor(2, version=9)],
    )
    me, other = net.peers
    net.take(me, net.gossips[me].tick([other], net.gossips[me].next_deadline(), net.wall))
    said = []
    while net.cells:
        said += kinds([net.cells[0]])
        net.receive(*net.cells.popleft())
    # Only the second has something that the first lacks.
    assert said == ["Summary", "Digest", "Wanted", "Records"]
    assert len(net.summaries()) == 1
    assert net.rosters[me].descriptor(lab.peer(2).id).version == int(lab.wall) + 9
    assert [record.kind for record in net.heard[-1].records] == [Kind.CERTIFICATE, Kind.DESCRIPTOR]


def test_with_a_descriptor_its_certificate_is_asked_for_and_each_once(lab, make_net):
    """Both sides may have begun an exchange, and certificates and descriptors are in different ranges."""
    net = make_net([], [])
    me, other = net.peers
    known = [peek(record) for record in (lab.certificate(2), lab.descriptor(2), lab.descriptor(3))]
    keys = [key for key, _ in known]
    certificate_of_3 = key_of(Kind.CERTIFICATE, lab.peer(3).id)

    def asked_by(said):
        tells = net.receive(other, me, encode_digests(sorted(said), CELL)[0][1]).tells
        return {key for tell in tells for key in decode(tell.data).keys}

    assert asked_by(known[:1]) == {keys[0]}
    assert asked_by(known) == {keys[1], keys[2], certificate_of_3}
    assert asked_by(known) == set()
    net.now += INTERVAL
    assert asked_by(known) == {*keys, certificate_of_3}


def test_a_newcomer_says_who_it_is_at_once(lab, make_net):
    delegate = lab.delegate(1)
    records = [lab.delegation(1), lab.certificate(0, delegate), lab.descriptor(0), lab.certificate(5)]
    net = make_net(records, [lab.certificate(1)])
    me, other = net.peers
    tells = net.gossips[me].link_up(other, net.now, net.wall)
    assert [(tell.to, tell.at_once) for tell in tells] == [(other, True)] * 2
    assert kinds([(tell.data,) for tell in tells]) == ["Records", "Summary"]
    heard = net.receive(me, other, tells[0].data, neighbours=[])
    assert [record.kind for record in heard.records] == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert [record.id for record in heard.records] == [other, me, me]
    assert lab.peer(1).id == other


def test_who_knows_nothing_of_itself_asks_all_the_same(lab, make_net):
    net = make_net([], [])
    me, other = net.peers
    tells = net.gossips[me].link_up(other, net.now, net.wall)
    assert kinds([(tell.data,) for tell in tells]) == ["Summary"]


def test_who_cannot_be_answered_is_heard(lab, make_net):
    """It dials us, we have no link to it: its records count, nothing is kept for it, nothing answered."""
    net = make_net([lab.certificate(0)], [lab.certificate(1), lab.certificate(2), lab.descriptor(2)])
    me, other = net.peers
    for data in (
        encode_summary(bytes(16), net.wall),
        encode_digests([], CELL)[0][1],
        encode_wanted([key_of(Kind.CERTIFICATE, me)], CELL)[0],
    ):
        assert net.receive(other, me, data, neighbours=[]).tells == ()
    heard = net.receive(other, me, encode_records([lab.certificate(1)], CELL, 1)[0], neighbours=[])
    assert len(heard.records) == 1
    assert not net.gossips[me]._neighbours


def test_who_is_gone_is_forgotten(net):
    me = net.peers[0]
    gossip = net.gossips[me]
    for other in net.others(me):
        gossip.received(other, encode_summary(b"x" * 16, net.wall), net.others(me), net.now, net.wall)
    assert len(gossip._neighbours) == 4
    left = net.others(me)[:1]
    gossip.tick(left, gossip.next_deadline(), net.wall)
    assert set(gossip._neighbours) == set(left)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.3, 0.6]),
    cell=st.sampled_from([900, 2000, CELL]),
    shared=st.lists(st.lists(st.integers(0, 40), max_size=20), min_size=4, max_size=4),
)
def test_all_end_with_the_same(lab, make_net, world, seed, loss, cell, shared):
    """Whatever each knew, in whatever order cells come, whichever are lost."""
    rosters = []
    for number, chosen in enumerate(shared):
        roster = lab.roster(number)
        for index in sorted(chosen):
            roster.offer(world[index % len(world)], lab.wall)
        rosters.append(roster)
    net = make_net(rosters=rosters, seed=seed, cell=cell)
    for _ in range(400):
        net.tick(loss, shuffle=True)
        if len(net.summaries()) == 1:
            break
    assert len(net.summaries()) == 1
    assert len({tuple(roster.keys()) for roster in net.rosters.values()}) == 1
    before = net.sent
    net.tick()
    assert net.sent - before <= 2 * len(rosters)  # quiet again: at most what two intervals have


@pytest.fixture(scope="module")
def world(lab):
    delegate = lab.delegate(1)
    records = [lab.certificate(number) for number in range(8)]
    records += [lab.descriptor(number, version) for number in range(8) for version in (0, 1, 7)]
    records += [
        lab.delegation(1),
        lab.certificate(8, delegate),
        lab.descriptor(8),
        lab.certificate(9, delegate),
    ]
    records += [lab.run(1, age=5), lab.run(1, age=1, stopped=True), lab.revocation(7), lab.revocation(9)]
    return records


def test_thousands_of_records_by_small_cells(lab, make_net):
    """Nobody needs the whole roster at once: ranges of it are compared, and what is sent is bounded."""
    net = make_net([], [], cell=1024)
    rosters = list(net.rosters.values())
    for number in range(150):
        for encoded in (lab.certificate(number), lab.descriptor(number)):
            rosters[number % 2].offer(encoded, lab.wall)
    most = 0
    for _ in range(2000):
        before = net.sent
        net.tick()
        most = max(most, net.sent - before)
        if len(net.summaries()) == 1:
            break
    assert len(net.summaries()) == 1
    assert len(rosters[0]) == 300
    assert most <= 2 * (CELLS_BURST + 2 * CELLS_PER_SECOND)


def test_a_record_that_fits_no_cell_does_not_hold_up_the_others(lab, make_net):
    net = make_net([lab.certificate(0), lab.descriptor(0)], [], cell=400)
    me, other = net.peers
    assert not net.gossips[me].fits(lab.certificate(0))
    assert net.gossips[me].fits(lab.descriptor(0))
    tells = net.gossips[me].link_up(other, net.now, net.wall)
    assert [type(decode(tell.data)) for tell in tells] == [Records, Summary]


def test_cells_have_a_least_size(lab):
    with pytest.raises(ValueError, match="at least"):
        Gossip(lab.roster(), 100, INTERVAL, random.Random(1), 0.0)


# -- those that cannot agree --------------------------------------------------------------------------


def test_what_was_refused_is_not_asked_for_again(lab, make_net):
    """One has no room for what the other knows: they do not go on and on about it."""
    records = [lab.certificate(number) for number in range(6)]
    net = make_net(records, [])
    _, other = net.peers
    small = lab.roster(1, max_members=2)
    small.offer(records[0], lab.wall)
    small.offer(records[1], lab.wall)
    net.rosters[other] = net.gossips[other]._roster = small
    for _ in range(20):
        net.tick()
    counted = [net.sent]
    for _ in range(3):
        for _ in range(100):
            net.tick()
        counted.append(net.sent - counted[-1] if len(counted) == 1 else net.sent - sum(counted))
    # 200 summaries in 100 intervals, and hardly more.
    assert all(200 <= count < 220 for count in counted[1:])
    assert len(small.members()) == 2


def test_a_refused_record_is_asked_for_again_only_after_a_while(lab, make_net):
    """A peer whose clock is days ahead: what it has is not good here, whoever asks."""
    ahead = lab.descriptor(1, version=90_000)
    net = make_net([lab.certificate(0), lab.certificate(1)], [lab.certificate(0), lab.certificate(1)])
    me, other = net.peers
    net.rosters[other].offer(ahead, lab.wall + 90_000)
    digest = encode_digests(net.rosters[other].keys(), CELL)[0][1]
    asked = 0
    for _ in range(200):
        tells = net.receive(other, me, digest).tells
        if tells:
            assert decode(tells[0].data) == Wanted((peek(ahead)[0],))
            asked += 1
            heard = net.receive(other, me, encode_records([ahead], CELL, 1)[0])
            assert [refused.reason for refused in heard.refused] == [DropReason.BAD_GOSSIP]
        net.cells.clear()
        net.now += INTERVAL
    assert asked == 4  # once a minute, not once a second
    tells = net.receive(other, me, encode_digests([peek(lab.descriptor(1, version=5))], CELL)[0][1]).tells
    assert any(isinstance(decode(tell.data), Wanted) for tell in tells)  # another version is another matter


def test_agreement_ends_all_suspicion(lab, make_net):
    net = make_net([lab.certificate(0)], [lab.certificate(0), lab.certificate(1)])
    me, other = net.peers
    state = net.gossips[me]._neighbour(other, net.now)
    net.receive(other, me, encode_summary(bytes(16), net.wall))
    state.refused[b"k"] = (1, 1e9)
    assert state.fruitless == 1
    net.receive(other, me, encode_summary(net.rosters[me].summary(), net.wall))
    assert (state.fruitless, state.differed, dict(state.refused)) == (0, (b"", b""), {})


def test_a_new_link_begins_anew(lab, make_net):
    """What was said on the one before may be lost."""
    net = make_net([lab.certificate(0)], [])
    me, other = net.peers
    summary = encode_summary(bytes(16), net.wall)
    answered = [bool(net.receive(other, me, summary).tells) for _ in range(3)]
    assert answered == [True, False, False]
    net.gossips[me].link_up(other, net.now, net.wall)
    assert net.receive(other, me, summary).tells


def test_what_is_remembered_of_a_neighbour_is_bounded(lab, make_net):
    net = make_net([lab.certificate(0)], [])
    me, other = net.peers
    for number in range(300):
        untimely = lab.run(number, age=-90_000.0)
        net.receive(other, me, encode_records([untimely], CELL, 1)[0])
    assert len(net.gossips[me]._neighbours[other].refused) == gossip_module.MAX_REFUSED


# -- cells that overtake each other -------------------------------------------------------------------


def test_what_comes_before_what_it_hangs_on_waits_for_it(lab, make_net):
    delegate = lab.delegate(2)
    net = make_net([lab.certificate(0)], [])
    me, other = net.peers
    for early in (lab.descriptor(1), lab.certificate(1, delegate)):
        heard = net.receive(other, me, encode_records([early], CELL, 1)[0])
        assert (heard.records, heard.refused) == ((), ())
    heard = net.receive(other, me, encode_records([lab.delegation(2)], CELL, 1)[0])
    assert [record.kind for record in heard.records] == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert not net.gossips[me]._early


def test_the_end_of_the_old_key_before_the_new_one(lab, make_net):
    key, ca = lab.new_ca()
    net = make_net([], [])
    me, other = net.peers
    ends = [lab.authority(ca, age=age, retires=True, key=key) for age in (10, 9)]
    net.receive(other, me, encode_records(ends, CELL, 1)[0])
    heard = net.receive(other, me, encode_records([lab.authority(ca, age=20)], CELL, 1)[0])
    assert net.rosters[me].trust.authorities == (ca,)
    assert heard.refused == ()


def test_not_everything_waits(lab, make_net):
    """Strangers describe themselves: the oldest are refused after all, and what is kept is bounded."""
    net = make_net([lab.certificate(0)], [])
    me, other = net.peers
    refused = []
    for number in range(10, 210):
        heard = net.receive(other, me, encode_records([lab.descriptor(number)], CELL, 1)[0])
        refused += [refused.reason for refused in heard.refused]
    assert len(net.gossips[me]._early) == gossip_module.MAX_EARLY
    assert refused == [DropReason.UNKNOWN_PEER] * (200 - gossip_module.MAX_EARLY)
    assert net.rosters[me].verifier.signatures == 1


def test_what_has_waited_may_be_no_good(lab, make_net):
    net = make_net([lab.certificate(0)], [])
    me, other = net.peers
    net.receive(other, me, encode_records([lab.descriptor(1, name="mallory")], CELL, 1)[0])
    heard = net.receive(other, me, encode_records([lab.certificate(1)], CELL, 1)[0])
    assert len(heard.records) == 1
    assert [refused.reason for refused in heard.refused] == [DropReason.BAD_GOSSIP]


# -- clocks -------------------------------------------------------------------------------------------


def test_skew_is_what_the_fastest_of_the_last_summaries_says(net):
    """Its clock is two seconds ahead; cells are up to three seconds on their way."""
    me, other = net.peers[:2]
    rng = random.Random(5)
    said = []
    for delay in [2.5, *(rng.uniform(0.1, 3.0) for _ in range(40))]:
        net.now += 5.0
        sent = encode_summary(net.rosters[me].summary(), net.wall - delay + 2.0)
        said.append(net.receive(other, me, sent).skew)
    assert said[0] == pytest.approx(-0.5, abs=0.01)
    assert all(1.2 < skew <= 1.901 for skew in said[20:])
    assert net.receive(other, me, encode_wanted([bytes(17)], CELL)[0]).skew is None


def test_an_interval_that_changes_is_drawn_anew(lab):
    gossip = Gossip(lab.roster(), CELL, 1000.0, random.Random(1), 0.0)
    gossip.set_interval(2.0, 50.0)
    assert 50.0 <= gossip.next_deadline() <= 52.0
    gossip.tick([], gossip.next_deadline(), 0.0)
    assert 52.0 <= gossip.next_deadline() <= 54.0
