"""Whom the fragments of a run go to."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.addressing import Addressing
from peerd.learning import Parcel
from peerd.types import PeerId, RunSpec

ALICE, BOB, CAROL = PEERS = tuple(PeerId(bytes([number]) * 16) for number in range(1, 4))
PARCELS = [Parcel(b"place", lambda: b"payload", index) for index in range(4)]


class Peer:
    """`others`: the round that each says it contributes from; of them, `away`: those that are not alive,
    `unlike`: whose model is another one."""

    def __init__(self, **spec: Any) -> None:
        self.others: dict[PeerId, int] = {}
        self.away: set[PeerId] = set()
        self.unlike: set[PeerId] = set()
        self.sent: dict[PeerId, list[int]] = {}
        self.rounds: list[int] = []
        self.cancelled: list[int] = []
        self.spec = RunSpec(run_id="ab" * 16, task="digits-cnn", **spec)
        self.addressing = Addressing(
            self.spec,
            self,  # type: ignore[arg-type]
            random.Random(1),
            send=self.send,
            cancel=self.cancelled.append,
        )

    def alive(self) -> tuple[PeerId, ...]:
        return tuple(peer for peer in PEERS if peer not in self.away)

    def taking_part(self, run: bytes, model: bytes) -> list[tuple[PeerId, int]]:
        assert run == bytes.fromhex(self.spec.run_id)
        return [(peer, first) for peer, first in self.others.items() if peer not in self.unlike or not model]

    def send(self, dealt: Any, round_number: int) -> None:
        self.sent = {peer: [parcel.index for parcel in parcels] for peer, parcels in dealt}
        self.rounds.append(round_number)

    def meet(self, *firsts: int) -> list[PeerId]:
        """Alice, Bob, Carol take part and contribute from these rounds on."""
        self.others = dict(zip(PEERS, firsts, strict=False))
        return self.addressing.meet(self.addressing.look())


@pytest.fixture
def peer() -> Peer:
    return Peer()


def test_who_takes_part_and_is_there_is_met_once(peer: Peer) -> None:
    peer.away = {BOB}
    assert peer.meet(1, 1) == [ALICE]
    peer.addressing.broadcast(1, PARCELS, 4)
    assert peer.sent == {ALICE: [0, 1, 2, 3]}
    peer.away = set()
    assert peer.meet(1, 1) == [BOB]
    assert peer.meet(1, 1) == []


def test_who_is_away_still_counts(peer: Peer) -> None:
    peer.away, peer.others = {BOB}, {ALICE: 0, BOB: 2}
    seen = peer.addressing.look()
    assert (seen.contributes_from, seen.together, seen.listening) == ((0, 2), {ALICE}, {ALICE})


def test_what_has_been_seen_is_not_sent_to_before_it_is_met(peer: Peer) -> None:
    """While a run takes in who there is, it may broadcast; who is new gets that alone, afterwards."""
    peer.others = {ALICE: 1}
    seen = peer.addressing.look()
    peer.addressing.broadcast(1, PARCELS, 4)
    assert peer.sent == {}
    assert peer.addressing.meet(seen) == [ALICE]


@pytest.mark.parametrize(("delta", "appears"), [(True, [ALICE]), (False, [])])
def test_who_fell_behind_is_met_again_where_it_lost_what_deltas_are_from(
    delta: bool, appears: list[PeerId]
) -> None:
    peer = Peer(delta=delta)
    peer.meet(1)
    assert peer.meet(0) == appears
    assert peer.meet(0) == []


def test_slices_go_to_those_who_do_not_contribute_to_that_round(peer: Peer) -> None:
    peer.meet(2, 3, 0)
    peer.addressing.send_to_listeners(2, PARCELS)
    assert set(peer.sent) == {BOB, CAROL}


def test_to_one_alone_and_what_is_of_no_use_is_cancelled(peer: Peer) -> None:
    peer.addressing.send_to(CAROL, 2, PARCELS[:1])
    assert (peer.sent, peer.rounds) == ({CAROL: [0]}, [2])
    peer.addressing.forget_before(2)
    assert peer.cancelled == [2]


@given(firsts=st.lists(st.integers(-5, 5), min_size=3, max_size=3), round=st.integers(1, 6))
def test_a_broadcast_reaches_all_but_those_who_have_finished_before(firsts: list[int], round: int) -> None:
    peer = Peer()
    peer.meet(*firsts)
    peer.addressing.broadcast(round, PARCELS, 4)
    finished = {who for who, first in zip(PEERS, firsts, strict=True) if first < 0 and -first < round}
    assert set(peer.sent) == set(PEERS) - finished


def test_where_parts_are_drawn_each_fragment_goes_to_so_many() -> None:
    peer = Peer(dissemination="random-k", fanout=2)
    peer.meet(1, 1, 1)
    peer.addressing.broadcast(1, PARCELS, 4)
    assert sorted(index for indices in peer.sent.values() for index in indices) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_nothing_goes_to_who_trains_another_model(peer: Peer) -> None:
    peer.unlike = {BOB}
    peer.addressing.model = b"m" * 8
    assert peer.meet(1, 1, 1) == [ALICE, CAROL]
    peer.addressing.broadcast(1, PARCELS, 4)
    assert set(peer.sent) == {ALICE, CAROL}
    peer.unlike = set()
    assert peer.meet(1, 1, 1) == [BOB]
