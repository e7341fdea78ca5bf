from __future__ import annotations

import copy
import math
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import gossip as gossip_module
from peerd.membership.gossip import CELLS_BURST, CELLS_PER_SECOND, Gossip, fanout
from peerd.membership.messages import (
    Digest,
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
from peerd.pb import gossip_pb2
from peerd.types import DropReason

CELL = 4096
INTERVAL = 1.0


def clone(roster):
    """As known, on its own from now on; certificates and bodies are shared."""
    other = copy.copy(roster)
    other._shelf = copy.copy(roster._shelf)
    other._shelf._records = dict(roster._shelf._records)
    other._shelf._keys = list(roster._shelf._keys)
    other._shelf._counts = roster._shelf._counts.copy()
    other._shelf._recent = roster._shelf._recent.copy()
    other._signed_by = dict(roster._signed_by)
    other._came_into_force = list(roster._came_into_force)
    return other


class Net:
    """Gossips of some peers on one clock; cells wait in `cells` until `deliver`."""

    def __init__(self, lab, rosters, seed=1, cell=CELL):
        self.lab, self.rng = lab, random.Random(seed)
        self.now = 1000.0
        self.rosters = {roster.me: roster for roster in rosters}
        self.peers = list(self.rosters)
        self.gossips = {
            peer: Gossip(roster, cell, INTERVAL, random.Random(self.rng.random()), self.now)
            for peer, roster in self.rosters.items()
        }
        self.cell = cell
        self.cells = deque()
        self.sent = 0
        self.heard = []

    @property
    def wall(self):
        return self.lab.wall + self.now - 1000.0

    def others(self, peer):
        return [other for other in self.peers if other != peer]

    def take(self, source, tells):
        for tell in tells:
            assert 0 < len(tell.data) <= self.cell
            self.sent += 1
            self.cells.append((source, tell.to, tell.data))

    def receive(self, source, to, data, neighbours=None):
        near = self.others(to) if neighbours is None else neighbours
        heard = self.gossips[to].received(source, data, near, self.now, self.wall)
        self.heard.append(heard)
        self.take(to, heard.tells)
        return heard

    def deliver(self, loss=0.0, shuffle=False):
        while self.cells:
            if shuffle:
                self.cells.rotate(self.rng.randrange(len(self.cells)))
            source, to, data = self.cells.popleft()
            if self.rng.random() >= loss:
                self.receive(source, to, data)

    def tick(self, loss=0.0, shuffle=False):
        """One interval, with everything that it causes."""
        end = self.now + INTERVAL
        while (first := min(self.peers, key=lambda peer: self.gossips[peer].next_deadline())) is not None:
            deadline = self.gossips[first].next_deadline()
            if deadline > end:
                break
            self.now = max(self.now, deadline)
            self.take(first, self.gossips[first].tick(self.others(first), self.now, self.wall))
            self.deliver(loss, shuffle)
        self.now = end

    def summaries(self):
        return {roster.summary() for roster in self.rosters.values()}


@pytest.fixture(scope="module")
def five(lab):
    """A network of five: everything about everybody."""
    roster = lab.roster()
    for number in range(5):
        roster.offer(lab.certificate(number), lab.wall)
        roster.offer(lab.descriptor(number), lab.wall)
    return roster


@pytest.fixture
def net(lab, five):
    return Net(lab, [with_me(clone(five), lab, number) for number in range(5)])


def with_me(roster, lab, number):
    roster.me = lab.peer(number).id
    return roster


def two(lab, mine=(), theirs=(), **options):
    rosters = []
    for number, records in enumerate((mine, theirs)):
        roster = lab.roster(number)
        for encoded in records:
            assert roster.offer(encoded, lab.wall) is not None
        rosters.append(roster)
    return Net(lab, rosters, **options)


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


def test_one_exchange_settles_both_sides(lab):
    net = two(
        lab,
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


def test_a_newcomer_says_who_it_is_at_once(lab):
    delegate = lab.delegate(1)
    records = [lab.delegation(1), lab.certificate(0, delegate), lab.descriptor(0), lab.certificate(5)]
    net = two(lab, records, [lab.certificate(1)])
    me, other = net.peers
    tells = net.gossips[me].link_up(other, net.now, net.wall)
    assert [(tell.to, tell.at_once) for tell in tells] == [(other, True)] * 2
    assert kinds([(tell.data,) for tell in tells]) == ["Records", "Summary"]
    heard = net.receive(me, other, tells[0].data, neighbours=[])
    assert [record.kind for record in heard.records] == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert [record.id for record in heard.records] == [other, me, me]
    assert lab.peer(1).id == other


def test_who_knows_nothing_of_itself_asks_all_the_same(lab):
    net = two(lab)
    me, other = net.peers
    tells = net.gossips[me].link_up(other, net.now, net.wall)
    assert kinds([(tell.data,) for tell in tells]) == ["Summary"]


def test_who_cannot_be_answered_is_heard(lab):
    """It dials us, we have no link to it: its records count, nothing is kept for it, nothing answered."""
    net = two(lab, [lab.certificate(0)], [lab.certificate(1), lab.certificate(2), lab.descriptor(2)])
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
def test_all_end_with_the_same(lab, world, seed, loss, cell, shared):
    """Whatever each knew, in whatever order cells come, whichever are lost."""
    rosters = []
    for number, chosen in enumerate(shared):
        roster = lab.roster(number)
        for index in sorted(chosen):
            roster.offer(world[index % len(world)], lab.wall)
        rosters.append(roster)
    net = Net(lab, rosters, seed, cell)
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
    records += [lab.delegation(1), lab.certificate(8, delegate), lab.descriptor(8), lab.certificate(9, delegate)]
    records += [lab.run(1, age=5), lab.run(1, age=1, stopped=True), lab.revocation(7), lab.revocation(9)]
    return records


def test_thousands_of_records_by_small_cells(lab):
    """Nobody needs the whole roster at once: ranges of it are compared, and what is sent is bounded."""
    net = two(lab, cell=1024)
    me, other = net.peers
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


def test_a_record_that_fits_no_cell_does_not_hold_up_the_others(lab):
    net = two(lab, [lab.certificate(0), lab.descriptor(0)], cell=400)
    me, other = net.peers
    assert not net.gossips[me].fits(lab.certificate(0))
    assert net.gossips[me].fits(lab.descriptor(0))
    tells = net.gossips[me].link_up(other, net.now, net.wall)
    assert [type(decode(tell.data)) for tell in tells] == [Records, Summary]


def test_cells_have_a_least_size(lab):
    with pytest.raises(ValueError, match="at least"):
        Gossip(lab.roster(), 100, INTERVAL, random.Random(1), 0.0)


# -- those that cannot agree --------------------------------------------------------------------------


def test_what_was_refused_is_not_asked_for_again(lab):
    """One has no room for what the other knows: they do not go on and on about it."""
    records = [lab.certificate(number) for number in range(6)]
    net = two(lab, records)
    me, other = net.peers
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


def test_a_refused_record_is_asked_for_again_only_after_a_while(lab):
    """A peer whose clock is days ahead: what it has is not good here, whoever asks."""
    ahead = lab.descriptor(1, version=90_000)
    net = two(lab, [lab.certificate(0), lab.certificate(1)], [lab.certificate(0), lab.certificate(1)])
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


def test_agreement_ends_all_suspicion(lab):
    net = two(lab, [lab.certificate(0)], [lab.certificate(0), lab.certificate(1)])
    me, other = net.peers
    state = net.gossips[me]._neighbour(other, net.now)
    net.receive(other, me, encode_summary(bytes(16), net.wall))
    state.refused[b"k"] = (1, 1e9)
    assert state.fruitless == 1
    net.receive(other, me, encode_summary(net.rosters[me].summary(), net.wall))
    assert (state.fruitless, state.differed, dict(state.refused)) == (0, (b"", b""), {})


def test_what_is_remembered_of_a_neighbour_is_bounded(lab):
    net = two(lab, [lab.certificate(0)])
    me, other = net.peers
    for number in range(300):
        untimely = lab.run(number, age=-90_000.0)
        net.receive(other, me, encode_records([untimely], CELL, 1)[0])
    assert len(net.gossips[me]._neighbours[other].refused) == gossip_module.MAX_REFUSED


# -- cells that overtake each other -------------------------------------------------------------------


def test_what_comes_before_what_it_hangs_on_waits_for_it(lab):
    delegate = lab.delegate(2)
    net = two(lab, [lab.certificate(0)])
    me, other = net.peers
    for early in (lab.descriptor(1), lab.certificate(1, delegate)):
        heard = net.receive(other, me, encode_records([early], CELL, 1)[0])
        assert (heard.records, heard.refused) == ((), ())
    heard = net.receive(other, me, encode_records([lab.delegation(2)], CELL, 1)[0])
    assert [record.kind for record in heard.records] == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert not net.gossips[me]._early


def test_the_end_of_the_old_key_before_the_new_one(lab):
    key, ca = lab.new_ca()
    net = two(lab)
    me, other = net.peers
    ends = [lab.authority(ca, age=age, retires=True, key=key) for age in (10, 9)]
    net.receive(other, me, encode_records(ends, CELL, 1)[0])
    heard = net.receive(other, me, encode_records([lab.authority(ca, age=20)], CELL, 1)[0])
    assert net.rosters[me].trust.authorities == (ca,)
    assert heard.refused == ()


def test_not_everything_waits(lab):
    """Strangers describe themselves: the oldest are refused after all, and what is kept is bounded."""
    net = two(lab, [lab.certificate(0)])
    me, other = net.peers
    refused = []
    for number in range(10, 210):
        heard = net.receive(other, me, encode_records([lab.descriptor(number)], CELL, 1)[0])
        refused += [refused.reason for refused in heard.refused]
    assert len(net.gossips[me]._early) == gossip_module.MAX_EARLY
    assert refused == [DropReason.UNKNOWN_PEER] * (200 - gossip_module.MAX_EARLY)
    assert net.rosters[me].verifier.signatures == 1


def test_what_has_waited_may_be_no_good(lab):
    net = two(lab, [lab.certificate(0)])
    me, other = net.peers
    net.receive(other, me, encode_records([lab.descriptor(1, name="mallory")], CELL, 1)[0])
    heard = net.receive(other, me, encode_records([lab.certificate(1)], CELL, 1)[0])
    assert len(heard.records) == 1
    assert [refused.reason for refused in heard.refused] == [DropReason.BAD_GOSSIP]


# -- rumors -------------------------------------------------------------------------------------------


def rumored(net, *records):
    """Whom the first peer passes on what it hears from the second."""
    me, source = net.peers[:2]
    heard = net.receive(source, me, encode_records(records, CELL, 1)[0])
    assert all(type(decode(tell.data)) is Records and not tell.at_once for tell in heard.tells)
    return {tell.to for tell in heard.tells}


def test_news_goes_on_at_once_but_not_back(lab, net):
    others = set(net.peers[2:])
    assert rumored(net, lab.certificate(7), lab.descriptor(7)) == others
    assert rumored(net, lab.certificate(7), lab.descriptor(7)) == set()
    assert rumored(net, lab.revocation(3)) == others
    assert rumored(net, lab.run(1)) == others
    assert rumored(net, lab.run(1, age=-1, stopped=True)) == others
    assert rumored(net, lab.delegation(2)) == others
    assert rumored(net, lab.authority(lab.new_ca()[1])) == others


def test_news_of_one_cell_goes_on_in_one_cell(lab, net):
    me, source = net.peers[:2]
    records = [lab.certificate(7), lab.descriptor(7), lab.certificate(8)]
    heard = net.receive(source, me, encode_records(records, CELL, 1)[0])
    assert len(heard.tells) == 3
    assert set(decode(heard.tells[0].data).encoded) == set(records)


@pytest.mark.parametrize(
    ("changes", "is_news"),
    [
        ({}, False),
        ({"mix_keys": ((4, bytes([9]) + bytes(31)),)}, False),
        ({"started_at": 99.0}, False),
        ({"addresses": ("192.0.2.77:9101",)}, True),
        ({"leaving": True}, True),
        ({"run": b"r" * 16}, True),
        ({"contributes_from": 3}, True),
        ({"instance": 9}, True),
        ({"software": "0.5.0"}, True),
    ],
    ids=str,
)
def test_a_mere_rotation_of_keys_is_no_news(lab, net, changes, is_news):
    assert bool(rumored(net, lab.descriptor(4, version=1, **changes))) == is_news


def test_a_renewed_certificate_is_no_news_but_a_new_name_is(lab, net):
    renewed = lab.link(4, instead_of=lab.link(4))
    again = lab.link(4, instead_of=renewed, name="bob")
    assert rumored(net, lab.certificate(4, instead_of=lab.link(4))) == set()
    from peerd.membership.records import certificate_record

    assert rumored(net, certificate_record(again)) != set()


def test_one_member_is_not_news_all_the_time(lab, net):
    passed_on = [bool(rumored(net, lab.descriptor(4, version=n, instance=n))) for n in range(1, 31)]
    assert passed_on == [True] * 8 + [False] * 22
    assert net.rosters[net.peers[0]].descriptor(lab.peer(4).id).instance == 30
    net.now += 61.0
    assert rumored(net, lab.descriptor(4, version=40, instance=40))


def test_ones_own_news(lab, net):
    me = net.peers[0]
    record = net.rosters[me].offer(lab.descriptor(0, version=1, leaving=True), lab.wall)
    tells = net.gossips[me].publish([record], net.others(me), net.now)
    assert sorted(tell.to for tell in tells) == sorted(net.others(me))
    assert {decode(tell.data) for tell in tells} == {Records((record.encoded,))}


def test_the_number_of_neighbours_told_grows_like_the_logarithm():
    assert [fanout(peers) for peers in (1, 2, 4, 10, 100, 1000)] == [3, 3, 3, 5, 8, 11]


def test_who_comes_back_to_a_large_network_does_not_tell_it_about_itself(lab):
    """All its members are news to it, and to nobody else."""
    net = two(lab, [lab.certificate(0)])
    me, other = net.peers
    more = [lab.peer(number).id for number in range(100, 120)]
    tells = 0
    for number in range(2, 82):
        cell = encode_records([lab.certificate(number)], CELL, 1)[0]
        heard = net.gossips[me].received(other, cell, [other, *more], net.now, net.wall)
        tells += len(heard.tells)
    assert len(net.rosters[me].members()) == 81
    assert tells <= 32 * fanout(22)


def test_but_a_fresh_revocation_is_passed_on_in_any_case(lab):
    net = two(lab, [lab.certificate(0)])
    me, other = net.peers
    more = [lab.peer(number).id for number in range(100, 120)]
    for number in range(2, 82):
        cell = encode_records([lab.certificate(number)], CELL, 1)[0]
        net.gossips[me].received(other, cell, [other, *more], net.now, net.wall)
    net.now += 4.0  # a neighbour's bucket fills a little
    net.gossips[me]._heat._tokens = 0.0
    net.gossips[me]._heat._filled_at = net.now
    fresh = encode_records([lab.revocation(3)], CELL, 1)[0]
    assert net.gossips[me].received(other, fresh, [other, *more], net.now, net.wall).tells
    old = encode_records([lab.revocation(4, age=4000.0)], CELL, 1)[0]
    assert not net.gossips[me].received(other, old, [other, *more], net.now, net.wall).tells


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
    assert net.receive(other, me, encode_records([], CELL, 1)[0] if False else b"").skew is None


# -- strangers and enemies ----------------------------------------------------------------------------


def state_of(net):
    return {peer: (roster.summary(), len(roster)) for peer, roster in net.rosters.items()}


@given(st.binary(max_size=300))
def test_no_bytes_change_anything(lab, five, data):
    net = Net(lab, [with_me(clone(five), lab, number) for number in range(2)])
    before = state_of(net)
    me, other = net.peers
    heard = net.receive(other, me, data)
    assert heard.records == ()
    assert state_of(net) == before


keys_ = st.one_of(st.binary(max_size=20), st.binary(min_size=17, max_size=17))


@settings(max_examples=150)
@given(st.data())
def test_well_formed_nonsense_changes_nothing(lab, five, data):
    known = st.builds(gossip_pb2.Known, key=keys_, version=st.integers(0, 2**64 - 1))
    digest = st.builds(
        lambda start, until, known: gossip_pb2.Digest(until=until, known=known, **{"from": start}),
        keys_, keys_, st.lists(known, max_size=5),
    )  # fmt: skip
    body = data.draw(
        st.one_of(
            st.builds(
                lambda digest, at: gossip_pb2.Gossip(summary={"hash": digest, "sent_at_ms": at}),
                st.binary(max_size=20), st.integers(0, 2**64 - 1),
            ),
            digest.map(lambda digest: gossip_pb2.Gossip(digest=digest)),
            st.lists(keys_, max_size=5).map(lambda keys: gossip_pb2.Gossip(wanted={"keys": keys})),
            st.lists(st.binary(max_size=60), max_size=4).map(
                lambda many: gossip_pb2.Gossip(records={"records": [{"certificate": one} for one in many]})
            ),
        )
    )  # fmt: skip
    net = Net(lab, [with_me(clone(five), lab, number) for number in range(2)])
    before = state_of(net)
    me, other = net.peers
    heard = net.receive(other, me, body.SerializeToString())
    net.deliver()
    assert heard.records == ()
    assert state_of(net) == before
    assert net.sent <= 2 * CELLS_BURST


def test_a_cell_that_is_too_long_is_not_parsed(lab, net):
    me, other = net.peers[:2]
    data = encode_records([lab.certificate(8)] * 9, 9999, 1)[0]
    heard = net.receive(other, me, data)
    assert [refused.reason for refused in heard.refused] == [DropReason.BAD_GOSSIP]
    assert heard.records == ()


def test_one_forged_record_ends_its_cell(lab, make_lab, net):
    forged = [make_lab().certificate(number) for number in range(20, 26)]
    me, other = net.peers[:2]
    spent = net.rosters[me].verifier.signatures
    heard = net.receive(other, me, encode_records([lab.certificate(8), *forged], CELL, 1)[0])
    assert len(heard.records) == 1
    assert len(heard.refused) == 1
    assert net.rosters[me].verifier.signatures == spent + 2


def test_one_that_is_only_untimely_does_not(lab, net):
    me, other = net.peers[:2]
    records = [lab.run(1, age=-90_000), lab.certificate(1, days=-1), lab.certificate(8)]
    heard = net.receive(other, me, encode_records(records, CELL, 1)[0])
    assert len(heard.records) == 1
    assert len(heard.refused) >= 1


def test_who_is_revoked_does_not_come_back(lab, net):
    """By replayed gossip, by later descriptors, by those who have not heard of it yet."""
    me, other = net.peers[:2]
    heard = net.receive(other, me, encode_records([lab.revocation(4)], CELL, 1)[0])
    assert {record.kind for record in heard.dropped} == {Kind.CERTIFICATE, Kind.DESCRIPTOR}
    again = [lab.certificate(4), lab.descriptor(4), lab.descriptor(4, version=9)]
    heard = net.receive(other, me, encode_records(again, CELL, 1)[0])
    assert [refused.reason for refused in heard.refused] == [DropReason.REVOKED_PEER] * 3
    for _ in range(30):
        net.tick()
    assert len(net.summaries()) == 1
    assert all(roster.is_revoked(lab.peer(4).id) for roster in net.rosters.values())
    assert all(len(roster.members()) == 4 for roster in net.rosters.values())


def test_replayed_gossip_changes_nothing(lab, net):
    me, other = net.peers[:2]
    seen = []
    for number in range(1, 4):
        record = encode_records([lab.descriptor(4, version=number, instance=number)], CELL, 1)[0]
        net.receive(other, me, record)
        seen.append(record)
    before, spent = state_of(net), net.rosters[me].verifier.signatures
    for data in seen * 10:
        heard = net.receive(other, me, data)
        assert (heard.records, heard.tells, heard.refused) == ((), (), ())
    assert state_of(net) == before
    assert net.rosters[me].verifier.signatures == spent


def test_ten_thousand_fake_peers(lab, make_lab, net):
    """A neighbour sends descriptors and certificates of its own making, as fast as it can: nothing is kept,
    a cell costs at most one check of a signature, and nothing is passed on or answered."""
    stranger = make_lab()
    me, other = net.peers[:2]
    before, spent = state_of(net), net.rosters[me].verifier.signatures
    descriptors = [lab.descriptor(number) for number in range(1000, 2000)]
    certificates = [stranger.certificate(number) for number in range(1000, 1100)]
    cells = encode_records(descriptors * 9 + certificates * 10, CELL, 10**6)
    for data in cells:
        heard = net.receive(other, me, data)
        assert (heard.records, heard.tells) == ((), ())
    assert state_of(net) == before
    assert net.rosters[me].verifier.signatures - spent <= len(cells)
    gossip = net.gossips[me]
    assert len(gossip._early) <= gossip_module.MAX_EARLY
    assert len(gossip._neighbours[other].refused) <= gossip_module.MAX_REFUSED


def test_ten_thousand_questions_get_few_answers(lab, net):
    """Summaries that always differ, digests of nothing, wishes for everything."""
    me, other = net.peers[:2]
    everything = [key for key, _ in net.rosters[me].keys()]
    questions = [encode_digests([], CELL)[0][1], *encode_wanted(everything, CELL)]
    answers = 0
    for number in range(3000):
        for data in (encode_summary(number.to_bytes(16, "big"), net.wall), *questions):
            answers += len(net.receive(other, me, data).tells)
        net.now += 0.01
    assert answers <= CELLS_BURST + CELLS_PER_SECOND * 30.0
    assert state_of(net)


def test_a_digest_that_claims_everything_is_asked_for_little(net):
    me, other = net.peers[:2]
    rng = random.Random(3)
    claimed = sorted((bytes((5,)) + rng.randbytes(16), 2**63) for _ in range(5000))
    answers = 0
    for _, data in encode_digests(claimed, CELL):
        tells = net.receive(other, me, data).tells
        assert all(isinstance(decode(tell.data), Wanted | Records) for tell in tells)
        answers += len(tells)
    assert answers <= CELLS_BURST


def test_digests_cover_all_ranges_in_time(lab):
    """Of many cells only some are sent at a time: where something is new, and others at random."""
    roster = lab.roster()
    for number in range(60):
        roster.offer(lab.certificate(number), lab.wall)
    net = Net(lab, [roster, lab.roster(1)], cell=256)
    me, other = net.peers
    cells = [cell for _, cell in encode_digests(roster.keys(), 256)]
    assert len(cells) > 8
    newest = next(cell for cell in cells if peek(lab.certificate(59))[0] in dict(decode(cell).known))
    seen = set()
    for number in range(100):
        net.now += 10.0
        tells = net.receive(other, me, encode_summary(number.to_bytes(16, "big"), net.wall)).tells
        assert 0 < len(tells) <= CELLS_BURST / 3
        assert all(isinstance(decode(tell.data), Digest) for tell in tells)
        assert newest in [tell.data for tell in tells]
        seen |= {tell.data for tell in tells}
    assert seen == set(cells)
