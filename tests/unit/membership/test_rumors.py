from __future__ import annotations

import pytest

from peerd.membership.gossip import fanout
from peerd.membership.messages import (
    Records,
    decode,
    encode_records,
)
from peerd.membership.records import certificate_record

CELL = 4096
INTERVAL = 1.0


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


def test_who_comes_back_to_a_large_network_does_not_tell_it_about_itself(lab, make_net):
    """All its members are news to it, and to nobody else."""
    net = make_net([lab.certificate(0)], [])
    me, other = net.peers
    more = [lab.peer(number).id for number in range(100, 120)]
    tells = 0
    for number in range(2, 82):
        cell = encode_records([lab.certificate(number)], CELL, 1)[0]
        heard = net.gossips[me].received(other, cell, [other, *more], net.now, net.wall)
        tells += len(heard.tells)
    assert len(net.rosters[me].members()) == 81
    assert tells <= 32 * fanout(22)


def test_but_a_fresh_revocation_is_passed_on_in_any_case(lab, make_net):
    net = make_net([lab.certificate(0)], [])
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
