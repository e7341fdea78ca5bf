from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import gossip as gossip_module
from peerd.membership.gossip import CELLS_BURST, CELLS_PER_SECOND
from peerd.membership.messages import (
    Digest,
    Records,
    Wanted,
    decode,
    encode_digests,
    encode_records,
    encode_summary,
    encode_wanted,
)
from peerd.membership.records import Kind, peek
from peerd.pb import gossip_pb2
from peerd.types import DropReason

CELL = 4096
INTERVAL = 1.0


def state_of(net):
    return {peer: (roster.summary(), len(roster)) for peer, roster in net.rosters.items()}


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_change_anything(lab, make_net, data):
    net = make_net(peers=2)
    before = state_of(net)
    me, other = net.peers
    heard = net.receive(other, me, data)
    assert heard.records == ()
    assert state_of(net) == before


keys_ = st.one_of(st.binary(max_size=20), st.binary(min_size=17, max_size=17))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_well_formed_nonsense_changes_nothing(lab, make_net, data):
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
    net = make_net(peers=2)
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


def test_one_of_a_later_version_is_passed_over(lab, net):
    """Of a kind that we do not know: the others of its cell are good all the same."""
    me, other = net.peers[:2]
    later = gossip_pb2.Record.FromString(b"\x3a\x04news").SerializeToString()
    heard = net.receive(other, me, encode_records([later, lab.certificate(8)], CELL, 1)[0])
    assert len(heard.records) == 1
    assert [(one.reason, one.hostile) for one in heard.refused] == [(DropReason.UNKNOWN_RECORD, False)]
    heard = net.receive(other, me, b"\x2a\x04news")
    assert [(one.reason, one.hostile) for one in heard.refused] == [(DropReason.UNKNOWN_RECORD, False)]


def test_one_that_is_only_untimely_does_not(lab, net):
    me, other = net.peers[:2]
    records = [lab.run(1, age=-90_000), lab.descriptor(1, version=90_000), lab.certificate(8)]
    heard = net.receive(other, me, encode_records(records, CELL, 1)[0])
    assert len(heard.records) == 1
    assert [refused.hostile for refused in heard.refused] == [False, False]


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
    everything = [record.key for record in net.rosters[me].records()]
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


def test_digests_cover_all_ranges_in_time(lab, make_net):
    """Of many cells only some are sent at a time: where something is new, and others at random."""
    roster = lab.roster()
    for number in range(60):
        roster.offer(lab.certificate(number), lab.wall)
    net = make_net(rosters=[roster, lab.roster(1)], cell=256)
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
