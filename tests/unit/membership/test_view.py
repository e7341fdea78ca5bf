from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peerd.membership import Change, View
from peerd.membership.descriptor import sign_descriptor
from peerd.sphinx import MixKey

DEAD_AFTER = 6.0
EPOCH = 40
KEYS = {epoch: MixKey.from_private(bytes([epoch]) * 32).public for epoch in range(30, 61)}
MIX, NEXT = KEYS[EPOCH], KEYS[EPOCH + 1]


def make(n: int, *epochs: int, version: int = 1, **changes: Any):
    key = Ed25519PrivateKey.from_private_bytes(bytes([n + 1]) * 32)
    says = {"name": f"peer{n}", "addresses": (f"192.0.2.{n + 1}:9101",)} | changes
    mix_keys = tuple((epoch, KEYS[epoch]) for epoch in epochs)
    return sign_descriptor(key, says["name"], says["addresses"], mix_keys, version)


ENROLLED = [make(n) for n in range(4)]
"""As in a bundle: without mix keys."""
ROSTER = [make(n, EPOCH, EPOCH + 1) for n in range(4)]
"""As if everybody had been heard already."""
ME, A, B, C = (descriptor.peer_id for descriptor in ROSTER)
STRANGER = b"?" * 16


@pytest.fixture
def view():
    return View(ME, ROSTER, DEAD_AFTER, EPOCH, now=100.0)


def test_at_first_nobody_is_known_to_live(view):
    assert view.alive() == ()
    assert set(view.peers()) == {A, B, C}
    assert view.state(A) == ("unknown", 100.0)
    assert view.next_deadline() is None
    assert view.tick(1e9) == []


def test_our_link_to_a_peer_whose_key_we_know_is_its_life(view):
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


# -- mix keys ------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    """Just started: what the bundle says, and nothing heard yet."""
    return View(ME, ENROLLED, DEAD_AFTER, EPOCH, now=100.0)


def test_a_link_without_a_key_is_not_life_yet(fresh):
    assert fresh.link_up(A, 101.0) == []
    assert (fresh.alive(), fresh.state(A), fresh.mix_key(A)) == ((), ("unknown", 100.0), None)
    assert fresh.next_deadline() is None
    assert fresh.learn(make(1, EPOCH, EPOCH + 1, version=2), 103.0) == [Change(A, "alive")]
    assert (fresh.alive(), fresh.state(A), fresh.mix_key(A)) == ((A,), ("alive", 103.0), MIX)


def test_a_key_without_a_link_is_not_life_either(fresh):
    assert fresh.learn(make(1, EPOCH, EPOCH + 1, version=2), 101.0) == []
    assert (fresh.alive(), fresh.mix_key(A)) == ((), MIX)
    assert fresh.link_up(A, 102.0) == [Change(A, "alive")]


def test_the_next_epoch_brings_the_next_key(view):
    view.link_up(A, 101.0)
    assert view.set_epoch(EPOCH + 1, 105.0) == []
    assert (view.mix_key(A), view.alive(), view.state(A)) == (NEXT, (A,), ("alive", 101.0))
    assert view.next_deadline() is None


def test_a_peer_that_is_not_heard_again_fades_and_comes_back_with_a_key(view):
    view.link_up(A, 101.0)
    view.link_up(B, 101.0)
    view.learn(make(2, EPOCH + 1, EPOCH + 2, version=2), 104.0)
    assert view.set_epoch(EPOCH + 2, 105.0) == []
    assert view.mix_key(A) is None
    assert view.alive() == (B,)  # at once no path goes by A, though nobody calls it dead yet
    assert view.state(A) == ("alive", 101.0)
    assert view.next_deadline() == 111.0
    assert view.tick(110.9) == []
    assert view.tick(111.0) == [Change(A, "dead")]
    assert view.next_deadline() is None
    assert view.learn(make(1, EPOCH + 2, EPOCH + 3, version=9), 120.0) == [Change(A, "alive")]
    assert view.alive() == (A, B)


def test_a_key_that_comes_while_a_peer_is_fading_was_nothing(view):
    view.link_up(A, 101.0)
    view.set_epoch(EPOCH + 2, 105.0)
    assert view.alive() == ()
    assert view.learn(make(1, EPOCH + 2, EPOCH + 3, version=2), 108.0) == []
    assert (view.alive(), view.state(A), view.next_deadline()) == ((A,), ("alive", 101.0), None)


def test_losing_the_link_too_does_not_start_the_clock_again(view):
    view.link_up(A, 101.0)
    view.set_epoch(EPOCH + 2, 105.0)
    view.link_down(A, 109.0)
    assert view.next_deadline() == 111.0


def test_a_peer_whose_clock_is_ahead_is_sent_its_first_key(fresh):
    fresh.link_up(A, 101.0)
    ahead = make(1, EPOCH + 1, EPOCH + 2, version=2)
    assert fresh.learn(ahead, 102.0) == [Change(A, "alive")]
    assert fresh.mix_key(A) == NEXT


def test_a_clock_set_back_makes_nobody_unusable(view):
    view.link_up(A, 101.0)
    assert view.set_epoch(EPOCH - 5, 102.0) == []
    assert (view.alive(), view.mix_key(A)) == ((A,), MIX)


@pytest.mark.parametrize("version", [0, 1, 4, 5])
def test_an_older_descriptor_or_the_same_changes_nothing(fresh, version):
    newest = make(1, EPOCH, EPOCH + 1, version=5)
    fresh.learn(newest, 101.0)
    assert fresh.learn(make(1, EPOCH + 1, EPOCH + 2, version=version), 102.0) == []
    assert (fresh.descriptor(A), fresh.mix_key(A)) == (newest, MIX)


def test_ones_own_keys_are_known_too(fresh):
    assert fresh.mix_key(ME) is None
    assert fresh.learn(make(0, EPOCH, EPOCH + 1, version=2), 101.0) == []
    assert fresh.mix_key(ME) == MIX
    fresh.set_epoch(EPOCH + 1, 102.0)
    assert fresh.mix_key(ME) == NEXT
    assert ME not in fresh.alive()


@pytest.mark.parametrize("peer", range(4))
def test_only_what_the_authority_has_signed_is_accepted(fresh, peer):
    assert fresh.accepts(make(peer, EPOCH, EPOCH + 1, version=2))
    assert fresh.accepts(make(peer, version=0))  # older: ignored later, but no lie
    assert not fresh.accepts(make(peer, EPOCH, version=2, name="mallory"))
    assert not fresh.accepts(make(peer, EPOCH, version=2, addresses=("192.0.2.99:9101",)))
    both = (f"192.0.2.{peer + 1}:9101", "192.0.2.99:9101")
    assert not fresh.accepts(make(peer, EPOCH, version=2, addresses=both))


def test_a_strangers_descriptor_is_not_accepted_even_under_an_enrolled_name(fresh):
    assert not fresh.accepts(make(7, EPOCH, version=2))
    assert not fresh.accepts(make(7, EPOCH, version=2, name="peer1", addresses=("192.0.2.2:9101",)))


def test_who_is_enrolled(view):
    assert all(view.enrolled(peer) for peer in (A, B, C))
    assert not view.enrolled(ME)
    assert not view.enrolled(STRANGER)


class ViewMachine(RuleBasedStateMachine):
    """Against a plain model: alive is whoever was fit, linked and with a key, within the last DEAD_AFTER
    seconds; paths go only by those of them whose key is known now."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.epoch = EPOCH
        self.view = View(ME, ENROLLED, DEAD_AFTER, self.epoch, self.now)
        self.linked: set[bytes] = set()
        self.heard: dict[bytes, tuple[int, tuple[int, ...]]] = dict.fromkeys((A, B, C), (1, ()))
        self.last: dict[bytes, float] = {}
        self.was_fit: set[bytes] = set()
        self.told: dict[bytes, str] = {}

    peers = st.sampled_from([A, B, C])

    def key(self, peer):
        _, epochs = self.heard[peer]
        usable = [epoch for epoch in epochs if epoch >= self.epoch]
        return KEYS[usable[0]] if usable else None

    def fit(self):
        return {peer for peer in (A, B, C) if peer in self.linked and self.key(peer) is not None}

    def settle(self, changes):
        """The model's part of an event: since when is who not fit?"""
        for peer in self.was_fit - self.fit():
            self.last[peer] = self.now
        self.was_fit = self.fit()
        for change in changes:
            assert self.told.get(change.peer) != change.state  # only real changes are told
            self.told[change.peer] = change.state

    @rule(peer=peers)
    def up(self, peer):
        self.linked.add(peer)
        self.settle(self.view.link_up(peer, self.now))

    @rule(peer=peers)
    def down(self, peer):
        self.linked.discard(peer)
        self.view.link_down(peer, self.now)
        self.settle([])

    @rule(peer=peers, ahead=st.integers(-2, 2), count=st.integers(0, 2), newer=st.integers(-1, 2))
    def hear(self, peer, ahead, count, newer):
        version, _ = self.heard[peer]
        epochs = tuple(range(self.epoch + ahead, self.epoch + ahead + count))
        said = make([ME, A, B, C].index(peer), *epochs, version=version + newer)
        if newer > 0:
            self.heard[peer] = (version + newer, epochs)
        self.settle(self.view.learn(said, self.now))

    @rule(step=st.integers(-1, 2))
    def epoch_changes(self, step):
        self.epoch = min(max(self.epoch + step, 33), 56)
        self.settle(self.view.set_epoch(self.epoch, self.now))

    @rule(seconds=st.integers(0, 10))
    def time_passes(self, seconds):
        end = self.now + seconds
        while (deadline := self.view.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            changes = self.view.tick(self.now)
            assert changes
            self.settle(changes)
        self.now = end

    @invariant()
    def alive_is_who_was_fit_of_late(self):
        fit = self.fit()
        expected = {
            peer
            for peer in (A, B, C)
            if peer in fit or (peer in self.last and self.now < self.last[peer] + DEAD_AFTER)
        }
        assert {peer for peer, state in self.told.items() if state == "alive"} == expected
        assert {peer for peer in (A, B, C) if self.view.state(peer)[0] == "alive"} == expected
        assert set(self.view.alive()) == {peer for peer in expected if self.key(peer) is not None}

    @invariant()
    def keys_are_of_the_epoch(self):
        for peer in (A, B, C):
            assert self.view.mix_key(peer) == self.key(peer)


TestViewMachine = ViewMachine.TestCase
