from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peerd.membership import Change, View
from peerd.membership.descriptor import sign_descriptor

DEAD_AFTER = 6.0
MIX = bytes([9]) + bytes(31)


def make(n: int):
    key = Ed25519PrivateKey.from_private_bytes(bytes([n + 1]) * 32)
    return sign_descriptor(key, f"peer{n}", (f"192.0.2.{n + 1}:9101",), MIX)


ROSTER = [make(n) for n in range(4)]
ME, A, B, C = (descriptor.peer_id for descriptor in ROSTER)
STRANGER = b"?" * 16


@pytest.fixture
def view():
    return View(ME, ROSTER, DEAD_AFTER, now=100.0)


def test_at_first_nobody_is_known_to_live(view):
    assert view.alive() == ()
    assert set(view.peers()) == {A, B, C}
    assert view.state(A) == ("unknown", 100.0)
    assert view.next_deadline() is None
    assert view.tick(1e9) == []


def test_our_link_to_a_peer_is_its_life(view):
    assert view.link_up(A, 101.0) == [Change(A, "alive")]
    assert view.link_up(A, 102.0) == []
    assert view.alive() == (A,)
    assert view.state(A) == ("alive", 101.0)


def test_a_link_down_starts_the_clock(view):
    view.link_up(A, 101.0)
    assert view.next_deadline() is None
    view.link_down(A, 104.0)
    view.link_down(A, 105.0)
    assert view.next_deadline() == 110.0
    assert view.tick(109.999) == []
    assert view.alive() == (A,)
    assert view.tick(110.0) == [Change(A, "dead")]
    assert view.alive() == ()
    assert view.state(A) == ("dead", 110.0)
    assert view.next_deadline() is None
    assert view.tick(120.0) == []


def test_a_link_that_comes_back_in_time_was_nothing(view):
    view.link_up(A, 101.0)
    view.link_down(A, 102.0)
    assert view.link_up(A, 107.0) == []
    assert view.tick(108.0) == []
    assert view.state(A) == ("alive", 101.0)


def test_the_dead_come_back(view):
    view.link_up(A, 101.0)
    view.link_down(A, 102.0)
    view.tick(108.0)
    assert view.link_up(A, 200.0) == [Change(A, "alive")]
    assert view.alive() == (A,)


def test_strangers_are_ignored(view):
    assert view.link_up(STRANGER, 101.0) == []
    view.link_down(STRANGER, 101.0)
    assert view.alive() == ()
    assert view.mix_key(STRANGER) is None
    assert view.descriptor(STRANGER) is None


def test_what_the_roster_says(view):
    assert view.mix_key(ME) == view.mix_key(A) == MIX
    assert view.descriptor(ME) == ROSTER[0]
    assert view.descriptor(B).name == "peer2"
    assert view.addresses() == {
        A: ("192.0.2.2", 9101),
        B: ("192.0.2.3", 9101),
        C: ("192.0.2.4", 9101),
    }


class ViewMachine(RuleBasedStateMachine):
    """Against a plain model: alive is whoever had a link up within the last DEAD_AFTER seconds."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.view = View(ME, ROSTER, DEAD_AFTER, self.now)
        self.linked: set[bytes] = set()
        self.last: dict[bytes, float] = {}
        self.told: dict[bytes, str] = {}

    peers = st.sampled_from([A, B, C])

    def take(self, changes):
        for change in changes:
            assert self.told.get(change.peer) != change.state  # only real changes are told
            self.told[change.peer] = change.state

    @rule(peer=peers)
    def up(self, peer):
        self.linked.add(peer)
        self.take(self.view.link_up(peer, self.now))

    @rule(peer=peers)
    def down(self, peer):
        if peer in self.linked:
            self.linked.discard(peer)
            self.last[peer] = self.now
        self.view.link_down(peer, self.now)

    @rule(seconds=st.integers(0, 10))
    def time_passes(self, seconds):
        end = self.now + seconds
        while (deadline := self.view.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            changes = self.view.tick(self.now)
            assert changes
            self.take(changes)
        self.now = end

    @invariant()
    def alive_is_who_had_a_link_of_late(self):
        expected = {
            peer
            for peer in (A, B, C)
            if peer in self.linked or (peer in self.last and self.now < self.last[peer] + DEAD_AFTER)
        }
        assert set(self.view.alive()) == expected
        assert {peer for peer, state in self.told.items() if state == "alive"} == expected


TestViewMachine = ViewMachine.TestCase
