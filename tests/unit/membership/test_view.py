from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.membership.descriptor import Descriptor
from peerd.membership.view import EVENTS, LOSSES_SECONDS, STATES, TABLE, Change, View
from peerd.types import PeerId

DEAD_AFTER = 6.0
LIMIT = 3
HALF_LIFE = 60.0
EPOCH = 40
KEYS = {epoch: bytes([epoch]) * 32 for epoch in range(20, 61)}
MIX, NEXT = KEYS[EPOCH], KEYS[EPOCH + 1]
RUN, OTHER_RUN = b"r" * 16, b"s" * 16

ME, A, B, C, STRANGER = (PeerId(bytes([n]) * 16) for n in range(1, 6))
OTHERS = (A, B, C)


def make(peer: PeerId, *epochs: int, version: int = 1, **changes: Any) -> Descriptor:
    says = {
        "peer_id": peer,
        "name": f"peer{peer[0]}",
        "addresses": ("192.0.2.1:9101",),
        "mix_keys": tuple((epoch, KEYS[epoch]) for epoch in epochs),
        "version": version,
        "leaving": False,
        "run": b"",
        "contributes_from": 0,
        "finished": False,
        "model": b"",
        "instance": 0,
        "started_at": 0.0,
        "software": "",
        "signed": b"",
    }
    return Descriptor(**says | changes)


def make_view(**changes: Any) -> View:
    settings = {"dead_after": DEAD_AFTER, "flap_limit": LIMIT, "flap_half_life": HALF_LIFE, "epoch": EPOCH}
    return View(ME, **settings | changes)


@pytest.fixture
def fresh():
    """Just started: who belongs to the network is known, and nothing was heard yet."""
    view = make_view()
    for peer in OTHERS:
        view.add(peer, 100.0)
    return view


@pytest.fixture
def view(fresh):
    """As if everybody had been heard already."""
    for peer in (ME, *OTHERS):
        fresh.learn(make(peer, EPOCH, EPOCH + 1), 100.0)
    return fresh


# -- the table -----------------------------------------------------------------------------------

IGNORED = {
    ("joining", "held"),  # that is where it is
    ("joining", "overdue"),
    ("joining", "returns"),
    ("alive", "fit"),
    ("alive", "held"),  # it is held back by losses, and a loss ends its being alive
    ("alive", "overdue"),
    ("alive", "returns"),
    ("suspect", "lost"),  # that was the reason
    ("suspect", "returns"),
    ("left", "fit"),  # it relays until it is gone
    ("left", "held"),
    ("left", "lost"),  # as announced
    ("left", "overdue"),
    ("left", "leaves"),
    ("dead", "lost"),
    ("dead", "overdue"),
    ("dead", "returns"),
    *(("revoked", event) for event in EVENTS),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_state_is_defined_or_ignored_on_purpose(state, event):
    assert ((state, event) in TABLE) != ((state, event) in IGNORED)


def test_the_table_leads_to_other_states_only_and_out_of_all_but_one():
    assert all(after != before for (before, _), after in TABLE.items())
    assert set(TABLE.values()) == set(STATES)
    assert {before for before, _ in TABLE} == set(STATES) - {"revoked"}
    assert {event for _, event in TABLE} == set(EVENTS)


# -- links ---------------------------------------------------------------------------------------


def test_at_first_nobody_is_known_to_live(view):
    assert view.alive() == view.living() == ()
    assert view.peers() == OTHERS
    assert view.state(A) == ("joining", 100.0)
    assert view.next_deadline() is None
    assert view.tick(1e9) == []


def test_our_link_to_a_peer_whose_key_we_know_is_its_life(view):
    assert view.link_up(A, 101.0) == [Change(A, "alive")]
    assert view.link_up(A, 102.0) == []
    assert view.alive() == view.living() == (A,)
    assert view.state(A) == ("alive", 101.0)


def test_a_link_down_makes_a_suspect_at_once_and_a_dead_peer_later(view):
    view.link_up(A, 101.0)
    assert view.next_deadline() is None
    assert view.link_down(A, 104.0) == [Change(A, "suspect")]
    assert view.link_down(A, 105.0) == []
    assert (view.alive(), view.living()) == ((), (A,))
    assert view.state(A) == ("suspect", 104.0)
    assert view.next_deadline() == 110.0
    assert view.tick(109.999) == []
    assert view.tick(110.0) == [Change(A, "dead")]
    assert view.alive() == view.living() == ()
    assert view.state(A) == ("dead", 110.0)
    assert view.next_deadline() is None
    assert view.tick(120.0) == []


def test_a_link_that_comes_back_in_time_was_no_death(view):
    view.link_up(A, 101.0)
    view.link_down(A, 102.0)
    assert view.link_up(A, 107.0) == [Change(A, "alive")]
    assert view.next_deadline() is None
    assert view.tick(108.0) == []
    assert view.state(A) == ("alive", 107.0)


def test_a_link_that_comes_back_before_the_tick_that_is_due_saves_it_too(view):
    view.link_up(A, 101.0)
    view.link_down(A, 102.0)
    assert view.link_up(A, 150.0) == [Change(A, "alive")]


def test_the_dead_come_back_at_once(view):
    view.link_up(A, 101.0)
    view.link_down(A, 102.0)
    view.tick(108.0)
    assert view.link_up(A, 200.0) == [Change(A, "alive")]
    assert view.alive() == (A,)


def test_each_has_a_clock_of_its_own(view):
    for peer, at in ((A, 102.0), (B, 103.0)):
        view.link_up(peer, 101.0)
        view.link_down(peer, at)
    assert view.next_deadline() == 108.0
    assert view.tick(108.5) == [Change(A, "dead")]
    assert view.next_deadline() == 109.0
    assert view.tick(109.0) == [Change(B, "dead")]


def test_strangers_are_ignored(view):
    assert view.link_up(STRANGER, 101.0) == view.link_down(STRANGER, 101.0) == []
    assert view.learn(make(STRANGER, EPOCH), 101.0) == view.revoke(STRANGER, 101.0) == []
    view.remove(STRANGER)
    assert view.peers() == OTHERS
    assert view.mix_key(STRANGER) is None
    assert view.descriptor(STRANGER) is None
    assert not view.enrolled(STRANGER)
    for ask in (view.state, view.damped):
        with pytest.raises(KeyError):
            ask(STRANGER)


def test_one_is_not_among_the_others(view):
    view.add(ME, 101.0)
    assert view.revoke(ME, 101.0) == view.link_up(ME, 101.0) == []
    assert view.peers() == OTHERS
    assert not view.enrolled(ME)


def test_a_member_that_is_added_again_stays_as_it_is(view):
    view.link_up(A, 101.0)
    view.add(A, 102.0)
    assert view.state(A) == ("alive", 101.0)


# -- mix keys ------------------------------------------------------------------------------------


def test_a_link_without_a_key_is_not_life_yet(fresh):
    assert fresh.link_up(A, 101.0) == []
    assert (fresh.alive(), fresh.state(A), fresh.mix_key(A)) == ((), ("joining", 100.0), None)
    assert fresh.next_deadline() is None
    assert fresh.learn(make(A, version=2), 102.0) == []  # enrolled, and not started yet
    assert fresh.learn(make(A, EPOCH, EPOCH + 1, version=3), 103.0) == [Change(A, "alive")]
    assert (fresh.alive(), fresh.state(A), fresh.mix_key(A)) == ((A,), ("alive", 103.0), MIX)


def test_a_newcomer_that_loses_its_link_before_it_had_a_key_was_never_alive(fresh):
    fresh.link_up(A, 101.0)
    assert fresh.link_down(A, 102.0) == []
    assert fresh.state(A) == ("joining", 100.0)
    assert fresh.next_deadline() is None


def test_a_key_without_a_link_is_not_life_either(fresh):
    assert fresh.learn(make(A, EPOCH, EPOCH + 1, version=2), 101.0) == []
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
    view.learn(make(B, EPOCH + 1, EPOCH + 2, version=2), 104.0)
    assert view.set_epoch(EPOCH + 2, 105.0) == [Change(A, "suspect")]
    assert view.mix_key(A) is None
    assert (view.alive(), view.living()) == ((B,), (A, B))
    assert view.next_deadline() == 111.0
    assert view.tick(110.9) == []
    assert view.tick(111.0) == [Change(A, "dead")]
    assert view.link_down(A, 112.0) == view.link_up(A, 113.0) == []  # a link alone does not raise it
    assert view.learn(make(A, EPOCH + 2, EPOCH + 3, version=9), 120.0) == [Change(A, "alive")]
    assert view.alive() == (A, B)


def test_losing_the_link_too_does_not_start_the_clock_again(view):
    view.link_up(A, 101.0)
    view.set_epoch(EPOCH + 2, 105.0)
    assert view.link_down(A, 109.0) == []
    assert view.next_deadline() == 111.0


def test_a_peer_whose_clock_is_ahead_is_sent_its_first_key(fresh):
    fresh.link_up(A, 101.0)
    assert fresh.learn(make(A, EPOCH + 1, EPOCH + 2, version=2), 102.0) == [Change(A, "alive")]
    assert fresh.mix_key(A) == NEXT


def test_a_clock_set_back_makes_nobody_unusable(view):
    view.link_up(A, 101.0)
    assert view.set_epoch(EPOCH - 5, 102.0) == []
    assert (view.alive(), view.mix_key(A)) == ((A,), MIX)


@pytest.mark.parametrize("version", [0, 1, 4, 5])
def test_an_older_descriptor_or_the_same_changes_nothing(fresh, version):
    newest = make(A, EPOCH, EPOCH + 1, version=5)
    fresh.learn(newest, 101.0)
    assert fresh.learn(make(A, EPOCH + 1, version=version, leaving=True), 102.0) == []
    assert (fresh.descriptor(A), fresh.mix_key(A)) == (newest, MIX)


def test_ones_own_keys_are_known_too(fresh):
    assert fresh.mix_key(ME) is None
    assert fresh.descriptor(ME) is None
    mine = make(ME, EPOCH, EPOCH + 1, version=2)
    assert fresh.learn(mine, 101.0) == []
    assert (fresh.mix_key(ME), fresh.descriptor(ME)) == (MIX, mine)
    fresh.set_epoch(EPOCH + 1, 102.0)
    assert fresh.mix_key(ME) == NEXT
    assert ME not in fresh.alive()


# -- leaving, revoked, removed -------------------------------------------------------------------


def test_who_says_that_it_leaves_has_left_whatever_its_link_does(view):
    view.link_up(A, 101.0)
    assert view.learn(make(A, EPOCH, version=2, leaving=True), 103.0) == [Change(A, "left")]
    assert view.alive() == view.living() == ()
    assert view.mix_key(A) == MIX
    assert view.link_down(A, 104.0) == []
    assert view.tick(1000.0) == []
    assert view.link_up(A, 1001.0) == []
    assert view.state(A) == ("left", 103.0)
    assert view.next_deadline() is None


def test_a_newer_descriptor_brings_it_back(view):
    view.link_up(A, 101.0)
    view.learn(make(A, EPOCH, version=2, leaving=True), 103.0)
    view.link_down(A, 104.0)
    assert view.learn(make(A, EPOCH, version=3), 110.0) == [Change(A, "joining")]
    assert view.state(A) == ("joining", 110.0)
    assert view.link_up(A, 111.0) == [Change(A, "alive")]


def test_its_link_may_have_come_back_first(view):
    view.learn(make(A, EPOCH, version=2, leaving=True), 103.0)
    view.link_up(A, 104.0)
    back = view.learn(make(A, EPOCH, version=3), 110.0)
    assert back == [Change(A, "joining"), Change(A, "alive")]
    assert view.state(A) == ("alive", 110.0)


def test_who_comes_back_without_a_key_joins_and_is_no_suspect(view):
    view.link_up(A, 101.0)
    view.learn(make(A, EPOCH, version=2, leaving=True), 103.0)
    assert view.learn(make(A, version=3), 110.0) == [Change(A, "joining")]
    assert view.next_deadline() is None


@pytest.mark.parametrize("before", ["joining", "suspect", "dead"])
def test_news_of_its_leaving_may_come_late(view, before):
    if before != "joining":
        view.link_up(A, 101.0)
        view.link_down(A, 102.0)
    if before == "dead":
        view.tick(108.0)
    assert view.state(A)[0] == before
    assert view.learn(make(A, EPOCH, version=2, leaving=True), 109.0) == [Change(A, "left")]
    assert view.next_deadline() is None


def test_a_polite_leaver_is_never_held_back(view):
    for version in range(2, 40, 2):
        view.link_up(A, 101.0)
        view.learn(make(A, EPOCH, version=version, leaving=True), 101.0)
        view.link_down(A, 101.0)
        view.learn(make(A, EPOCH, version=version + 1), 101.0)
    assert view.link_up(A, 101.0) == [Change(A, "alive")]
    assert not view.damped(A)


def test_revoked_is_for_good(view):
    view.link_up(A, 101.0)
    assert view.revoke(A, 102.0) == [Change(A, "revoked")]
    assert view.revoke(A, 103.0) == view.link_down(A, 103.0) == view.link_up(A, 104.0) == []
    assert view.learn(make(A, EPOCH, version=99), 105.0) == []
    assert view.set_epoch(EPOCH + 1, 106.0) == view.tick(1e6) == []
    view.add(A, 107.0)
    assert view.state(A) == ("revoked", 102.0)
    assert view.alive() == view.living() == ()
    assert (view.mix_key(A), view.enrolled(A), view.damped(A)) == (None, False, False)
    assert A in view.peers()  # for those who ask what became of it
    assert view.descriptor(A).name == "peer2"


def test_a_revoked_suspect_needs_no_clock(view):
    view.link_up(A, 101.0)
    view.link_down(A, 102.0)
    view.revoke(A, 103.0)
    assert view.next_deadline() is None


def test_who_is_removed_is_forgotten(view):
    view.link_up(A, 101.0)
    view.link_up(B, 101.0)
    view.link_down(B, 102.0)
    assert view.alive() == (A,)
    view.remove(A)
    view.remove(B)
    assert view.alive() == view.living() == ()
    assert view.peers() == (C,)
    assert view.next_deadline() is None
    assert view.tick(1e6) == []
    view.add(A, 200.0)
    assert view.state(A) == ("joining", 200.0)
    assert view.descriptor(A) is None


# -- flapping ------------------------------------------------------------------------------------


def flap(view, times, at=101.0):
    """Come and go so often, all at once; then it is a suspect."""
    for _ in range(times):
        view.link_up(A, at)
        view.link_down(A, at)


def test_a_peer_that_was_lost_too_often_is_held_back_until_it_has_stayed(view):
    flap(view, LIMIT - 1)
    assert not view.damped(A)
    assert view.living() == (A,)
    flap(view, 1)
    assert view.damped(A)
    assert view.state(A) == ("suspect", 101.0)
    assert view.living() == ()  # at once
    assert view.link_up(A, 102.0) == [Change(A, "joining")]
    assert view.alive() == view.living() == ()
    assert view.next_deadline() == 101.0 + HALF_LIFE
    assert view.tick(101.0 + HALF_LIFE - 0.001) == []
    assert view.tick(101.0 + HALF_LIFE) == [Change(A, "alive")]
    assert not view.damped(A)
    assert view.state(A) == ("alive", 161.0)
    assert view.next_deadline() is None


def test_from_the_dead_too_it_comes_back_held(view):
    flap(view, LIMIT)
    assert view.next_deadline() == 107.0
    assert view.tick(107.0) == [Change(A, "dead")]
    assert view.next_deadline() == 161.0
    assert view.link_up(A, 120.0) == [Change(A, "joining")]
    assert view.tick(161.0) == [Change(A, "alive")]


def test_a_further_loss_while_it_is_held_prolongs_that(view):
    flap(view, LIMIT)
    view.link_up(A, 102.0)
    assert view.link_down(A, 160.0) == [Change(A, "suspect")]
    assert view.living() == ()
    assert view.link_up(A, 161.0) == [Change(A, "joining")]
    assert view.tick(165.0) == []
    assert view.next_deadline() > 190.0
    assert view.tick(view.next_deadline()) == [Change(A, "alive")]


def test_it_may_wait_for_the_end_without_a_link(view):
    flap(view, LIMIT)
    view.tick(107.0)
    assert view.tick(161.0) == []
    assert not view.damped(A)
    assert view.next_deadline() is None
    assert view.link_up(A, 162.0) == [Change(A, "alive")]


def test_the_end_counts_though_the_tick_comes_late(view):
    flap(view, LIMIT)
    view.tick(107.0)
    assert view.link_up(A, 162.0) == [Change(A, "alive")]
    assert not view.damped(A)


def test_losses_of_long_ago_do_not_count(view):
    for n in range(20):
        at = 101.0 + n * HALF_LIFE
        assert view.link_up(A, at) == [Change(A, "alive")]
        view.link_down(A, at)
    assert not view.damped(A)


def test_keys_that_are_missing_are_no_flapping(view):
    view.link_up(A, 101.0)
    for n in range(10):
        view.set_epoch(EPOCH + 2, 102.0 + n)
        assert view.set_epoch(EPOCH, 102.0 + n) == [Change(A, "alive")]


def test_losses_are_counted_by_peer_also_those_too_rare_to_hold_it_back(view):
    view.add(B, 100.0)
    for minute in range(30):
        at = 101.0 + 60.0 * minute
        view.link_up(A, at)
        view.link_down(A, at)
        assert not view.damped(A)
    view.link_up(B, at)
    view.link_down(B, at)
    assert view.most_losses(at) == 15
    assert view.most_losses(at + LOSSES_SECONDS - 0.1) == 1
    assert view.most_losses(at + LOSSES_SECONDS) == 0


def test_a_revoked_peers_losses_are_no_concern_any_more(view):
    flap(view, 2)
    assert view.most_losses(101.0) == 2
    view.revoke(A, 102.0)
    assert view.most_losses(102.0) == 0


def test_nobody_is_let_in_while_it_is_a_suspect_still():
    """Whose penalty is over sooner than it is dead: else it would count again and nobody were told."""
    view = make_view(flap_limit=1, flap_half_life=0.5)
    view.add(A, 0.0)
    view.learn(make(A, EPOCH), 0.0)
    view.link_up(A, 1.0)
    view.link_down(A, 2.0)
    assert view.next_deadline() == 2.0 + DEAD_AFTER
    assert view.tick(5.0) == []
    assert view.damped(A)
    assert view.living() == ()
    assert view.tick(2.0 + DEAD_AFTER) == [Change(A, "dead")]
    assert not view.damped(A)


def test_who_leaves_while_it_is_held_back_is_still_held_when_it_returns(view):
    flap(view, LIMIT)
    view.link_up(A, 102.0)
    assert view.learn(make(A, EPOCH, version=2, leaving=True), 103.0) == [Change(A, "left")]
    assert view.learn(make(A, EPOCH, version=3), 104.0) == [Change(A, "joining")]
    assert view.damped(A)
    assert view.tick(161.0) == [Change(A, "alive")]


# -- runs ----------------------------------------------------------------------------------------


def test_who_takes_part_in_a_run_says_so_in_its_descriptor(view):
    for peer, run, first in ((A, RUN, 4), (B, OTHER_RUN, 1), (C, RUN, 0)):
        view.learn(make(peer, EPOCH, version=2, run=run, contributes_from=first), 101.0)
    assert view.taking_part(RUN) == []
    for peer in OTHERS:
        view.link_up(peer, 102.0)
    assert view.taking_part(RUN) == [(A, 4), (C, 0)]
    view.link_down(A, 103.0)
    assert view.taking_part(RUN) == [(A, 4), (C, 0)]  # a suspect
    view.tick(109.0)
    assert view.taking_part(RUN) == [(C, 0)]
    assert view.taking_part(OTHER_RUN) == [(B, 1)]
    view.learn(make(B, EPOCH, version=3, run=OTHER_RUN, contributes_from=7, finished=True), 109.5)
    assert view.taking_part(OTHER_RUN) == [(B, -7)]
    view.learn(make(B, EPOCH, version=4), 110.0)
    assert view.taking_part(OTHER_RUN) == view.taking_part(b"") == []


def test_who_trains_another_model_is_left_out_once_both_are_known(view):
    here, there = b"h" * 8, b"t" * 8
    for peer, run, model in ((A, RUN, here), (B, RUN, there), (C, RUN, b"")):
        view.learn(make(peer, EPOCH, version=2, run=run, contributes_from=1, model=model), 101.0)
        view.link_up(peer, 102.0)
    assert view.taking_part(RUN, here) == [(A, 1), (C, 1)]
    assert view.taking_part(RUN, there) == [(B, 1), (C, 1)]
    assert view.taking_part(RUN) == [(A, 1), (B, 1), (C, 1)]
    assert view.with_other_models(RUN, here) == [B]
    assert view.with_other_models(RUN, there) == [A]
    assert view.with_other_models(RUN, b"") == view.with_other_models(OTHER_RUN, here) == []


# -- against a model -----------------------------------------------------------------------------


@dataclass
class Model:
    """What is known of one peer. The state follows from it, without any table."""

    since: float
    linked: bool = False
    epochs: tuple[int, ...] = ()
    version: int | None = None
    leaving: bool = False
    revoked: bool = False
    was_fit: bool = False
    """Since it joined or returned."""
    lost_at: float = 0.0
    penalty: float = 0.0
    penalty_at: float = 0.0
    until: float = -math.inf

    def key(self, epoch):
        usable = [known for known in self.epochs if known >= epoch]
        return KEYS[usable[0]] if usable and not self.revoked else None

    def fit(self, epoch):
        return self.linked and self.key(epoch) is not None

    def state(self, epoch, now):
        if self.revoked:
            return "revoked"
        if self.leaving:
            return "left"
        if self.fit(epoch):
            return "joining" if now < self.until else "alive"
        if not self.was_fit:
            return "joining"
        return "suspect" if now < self.lost_at + DEAD_AFTER else "dead"


class ViewMachine(RuleBasedStateMachine):
    half_life = 20.0

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.epoch = EPOCH
        self.view = make_view(flap_half_life=self.half_life)
        self.model: dict[PeerId, Model] = {}
        self.told: dict[PeerId, tuple[str, float]] = {}

    peers = st.sampled_from(OTHERS)

    def settle(self, changes, fit_before):
        """What the model makes of an event, and whether exactly the changes were told."""
        for peer, known in self.model.items():
            if peer in fit_before and not known.fit(self.epoch):
                known.lost_at = self.now
                if self.now < known.until and not known.leaving:
                    known.until = max(known.until, self.now + DEAD_AFTER)
            if known.fit(self.epoch) and not known.leaving:
                known.was_fit = True
        for change in changes:
            assert self.told[change.peer][0] != change.state
            self.told[change.peer] = (change.state, self.now)

    def fit(self):
        return {peer for peer, known in self.model.items() if known.fit(self.epoch)}

    @rule(peer=peers)
    def add(self, peer):
        self.view.add(peer, self.now)
        if peer not in self.model:
            self.model[peer] = Model(self.now)
            self.told[peer] = ("joining", self.now)

    @rule(peer=peers)
    def remove(self, peer):
        self.view.remove(peer)
        self.model.pop(peer, None)
        self.told.pop(peer, None)

    @rule(peer=peers)
    def revoke(self, peer):
        before = self.fit()
        if peer in self.model:
            self.model[peer].revoked = True
        self.settle(self.view.revoke(peer, self.now), before)

    @rule(peer=peers)
    def up(self, peer):
        before = self.fit()
        if peer in self.model:
            self.model[peer].linked = True
        self.settle(self.view.link_up(peer, self.now), before)

    @rule(peer=peers)
    def down(self, peer):
        before = self.fit()
        known = self.model.get(peer)
        if known is not None:
            if peer in before and not known.leaving and not known.revoked:
                self.lose(known)
            known.linked = False
        self.settle(self.view.link_down(peer, self.now), before)

    def lose(self, known):
        decayed = known.penalty * 0.5 ** ((self.now - known.penalty_at) / self.half_life)
        known.penalty, known.penalty_at = min(decayed + 1.0, 2.0 * LIMIT), self.now
        if known.penalty >= LIMIT or self.now < known.until:
            known.until = self.now + self.half_life * math.log2(known.penalty / (LIMIT / 2))

    @rule(peer=peers, times=st.integers(1, 4))
    def flap(self, peer, times):
        for _ in range(times):
            self.up(peer)
            self.down(peer)

    @rule(
        peer=peers,
        ahead=st.integers(-2, 2),
        count=st.integers(0, 2),
        newer=st.integers(-1, 2),
        leaving=st.booleans(),
    )
    def hear(self, peer, ahead, count, newer, leaving):
        before = self.fit()
        known = self.model.get(peer)
        heard = known is not None and known.version is not None
        version = known.version if heard else 1
        epochs = tuple(range(self.epoch + ahead, self.epoch + ahead + count))
        said = make(peer, *epochs, version=version + newer, leaving=leaving)
        if known is not None and (newer > 0 or not heard) and not known.revoked:
            if known.leaving and not leaving:
                known.was_fit = False
            known.version, known.epochs, known.leaving = version + newer, epochs, leaving
        self.settle(self.view.learn(said, self.now), before)

    @rule(step=st.integers(-1, 2))
    def epoch_changes(self, step):
        before = self.fit()
        self.epoch = min(max(self.epoch + step, 23), 56)
        self.settle(self.view.set_epoch(self.epoch, self.now), before)

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds):
        end = self.now + seconds
        while (deadline := self.view.next_deadline()) is not None and deadline <= end:
            assert deadline > self.now  # else it would spin
            self.now = deadline
            self.settle(self.view.tick(self.now), self.fit())
        self.now = end

    @precondition(lambda self: self.model)
    @rule(seconds=st.floats(0.0, 100.0))
    def the_tick_comes_late(self, seconds):
        self.now += seconds
        self.settle(self.view.tick(self.now), self.fit())

    @invariant()
    def states_follow_from_what_is_known(self):
        states = {peer: known.state(self.epoch, self.now) for peer, known in self.model.items()}
        assert {peer: self.view.state(peer)[0] for peer in self.view.peers()} == states
        assert {peer: self.view.state(peer) for peer in self.view.peers()} == self.told
        held = {p for p, known in self.model.items() if self.now < known.until and not known.revoked}
        assert {peer for peer in self.view.peers() if self.view.damped(peer)} == held
        assert set(self.view.alive()) == {peer for peer, state in states.items() if state == "alive"}
        counted = {p for p, s in states.items() if s == "alive" or (s == "suspect" and p not in held)}
        assert set(self.view.living()) == counted
        assert not held & counted

    @invariant()
    def keys_are_of_the_epoch_and_of_members(self):
        for peer in OTHERS:
            known = self.model.get(peer)
            assert self.view.mix_key(peer) == (None if known is None else known.key(self.epoch))
            assert self.view.enrolled(peer) == (known is not None and not known.revoked)

    @invariant()
    def there_is_a_deadline_exactly_when_time_alone_brings_something(self):
        waiting = any(
            not known.revoked and (self.now < known.until or known.state(self.epoch, self.now) == "suspect")
            for known in self.model.values()
        )
        deadline = self.view.next_deadline()
        assert (deadline is not None) == waiting
        assert deadline is None or deadline > self.now


TestViewMachine = ViewMachine.TestCase


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["up", "down", "tick", "leave", "return", "key", "epoch"]), st.floats(0, 9)
        ),
        max_size=60,
    )
)
def test_every_change_that_is_told_is_one_of_the_table(events):
    view = make_view()
    view.add(A, 0.0)
    now, version, state = 0.0, 1, "joining"
    for event, seconds in events:
        now += seconds
        match event:
            case "up":
                changes = view.link_up(A, now)
            case "down":
                changes = view.link_down(A, now)
            case "tick":
                changes = view.tick(now)
            case "epoch":
                changes = view.set_epoch(EPOCH + int(now) % 3, now)
            case _:
                version += 1
                epochs = () if event == "leave" else (EPOCH, EPOCH + 1)
                changes = view.learn(make(A, *epochs, version=version, leaving=event == "leave"), now)
        for change in changes:
            assert any(after == change.state for (before, _), after in TABLE.items() if before == state)
            state = change.state
        assert view.state(A)[0] == state


def test_limits_that_change_hold_from_then_on(fresh):
    fresh.learn(make(A, EPOCH), 100.0)
    fresh.link_up(A, 101.0)
    fresh.link_down(A, 102.0)
    fresh.set_limits(1.0, LIMIT, HALF_LIFE)
    assert fresh.next_deadline() == 103.0
    assert fresh.tick(103.0) == [Change(A, "dead")]
    fresh.set_limits(DEAD_AFTER, 1, 10.0)
    fresh.link_up(A, 104.0)
    fresh.link_down(A, 105.0)
    fresh.link_up(A, 106.0)
    assert fresh.damped(A)
    assert fresh.next_deadline() < 105.0 + 2 * 10.0
