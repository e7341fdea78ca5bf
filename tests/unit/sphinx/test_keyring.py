from __future__ import annotations

import gc
import math
import random
import weakref
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import peerd.sphinx.keyring as keyring_module
from peerd.sphinx import (
    Deliver,
    EpochKey,
    Epochs,
    Forward,
    Geometry,
    Hop,
    Keyring,
    MixKey,
    Rejected,
    ReplayFilter,
    wrap,
)
from peerd.types import DropReason, PeerId

GEOMETRY = Geometry(max_hops=3, body_bytes=1024)

# -- epochs --------------------------------------------------------------------------------------


@st.composite
def divisions(draw):
    """Any that a network's configuration allows."""
    seconds = draw(st.floats(1.0, 2_592_000.0) | st.sampled_from([1.0, 3.7, 5.0, 60.1, 3600.0, 86_400.0]))
    grace = draw(st.floats(0.5, seconds) | st.just(seconds) | st.just(seconds / 2))
    return Epochs(seconds, grace)


MOMENTS = st.floats(0.0, 1e11) | st.integers(1_500_000_000, 4_000_000_000).map(float)


@st.composite
def divided(draw, moments=MOMENTS, until=None):
    """Epochs and a moment: any, or on or right beside a boundary (up to `until`, in seconds)."""
    epochs = draw(divisions())
    if draw(st.booleans()):
        return epochs, draw(moments)
    begin = epochs.begins(draw(st.integers(0, 10**9 if until is None else int(until / epochs.seconds))))
    wall = draw(st.sampled_from([begin, begin + epochs.grace, begin + epochs.seconds - epochs.grace]))
    for _ in range(draw(st.integers(0, 3))):
        wall = math.nextafter(wall, draw(st.sampled_from([math.inf, 0.0])))
    return epochs, wall


@given(divided())
@example((Epochs(2_592_000.0, 0.5), 0.0))
def test_an_epoch_holds_the_moment_it_is_of(case):
    epochs, wall = case
    now = epochs.at(wall)
    assert epochs.begins(now) <= wall < epochs.begins(now + 1)


@given(divided())
def test_the_next_change_is_later_and_not_late(case):
    epochs, wall = case
    change = epochs.next_change(wall)
    assert wall < change <= epochs.begins(epochs.at(wall) + 1)


@given(divided())
def test_between_two_changes_the_same_keys_are_accepted(case):
    epochs, wall = case
    change = epochs.next_change(wall)
    last = math.nextafter(change, 0.0)
    accepted = epochs.accepted(wall)
    for moment in (last, wall + (last - wall) / 2, wall + (last - wall) / 3):
        if wall <= moment < change:
            assert epochs.accepted(moment) == accepted
            assert epochs.next_change(moment) == change


@given(divided())
def test_following_the_changes_goes_through_all_epochs_and_never_stands_still(case):
    epochs, wall = case
    moments = [wall]
    while len(moments) < 13:
        moments.append(epochs.next_change(moments[-1]))
    assert all(later > earlier for earlier, later in pairwise(moments))
    passed = [epochs.at(moment) for moment in moments]
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(passed))
    assert passed[-1] - passed[0] >= 3  # at most three changes an epoch, and one of float dust


@given(divided())
def test_what_is_accepted(case):
    epochs, wall = case
    now = epochs.at(wall)
    accepted = epochs.accepted(wall)
    assert accepted[0] == now
    assert len(set(accepted)) == len(accepted) <= 3
    before = wall < epochs.begins(now) + epochs.grace
    after = wall >= epochs.begins(now + 1) - epochs.grace
    assert (now - 1 in accepted, now + 1 in accepted) == (before, after)
    assert set(accepted) <= {now - 1, now, now + 1}


# Beyond a billion seconds, float dust is larger than the margin.
@given(divided(st.floats(0.0, 1e9), until=1e9), st.floats(-1.0, 1.0))
def test_two_clocks_within_half_the_grace_always_understand_each_other(case, skew):
    """A packet for the sender's epoch, at once: the recipient accepts that key."""
    epochs, wall = case
    other = max(0.0, wall + skew * epochs.grace * 0.49)
    assert epochs.at(wall) in epochs.accepted(other)


def test_a_day_in_hours():
    day = Epochs(3600.0, 300.0)
    assert [day.accepted(t) for t in (0.0, 299.9, 300.0, 3299.9, 3300.0, 3599.9, 3600.0, 3900.0)] == [
        (0, -1), (0, -1), (0,), (0,), (0, 1), (0, 1), (1, 0), (1,),
    ]  # fmt: skip
    assert [day.next_change(t) for t in (0.0, 300.0, 3300.0, 3600.0)] == [300.0, 3300.0, 3600.0, 3900.0]


def test_with_the_longest_grace_three_keys_are_accepted_all_the_time():
    epochs = Epochs(5.0, 5.0)
    assert [epochs.accepted(t) for t in (10.0, 12.5, 14.999)] == [(2, 1, 3)] * 3
    assert epochs.next_change(10.0) == 15.0


def test_boundaries_that_floats_cannot_hit():
    """49 * (1 / 49) is not 1, and neither does dividing undo multiplying: an epoch once had no end."""
    rng = random.Random(1)
    for _ in range(20_000):
        epochs = Epochs(1.0 + rng.random() * 1000.0, 0.5)
        boundary = epochs.begins(rng.randrange(1, 2_000_000))
        for wall in (math.nextafter(boundary, 0.0), boundary, math.nextafter(boundary, math.inf)):
            assert epochs.next_change(wall) > wall
            assert epochs.begins(epochs.at(wall)) <= wall


# -- keys ----------------------------------------------------------------------------------------


def make_key(epoch):
    return EpochKey(epoch, MixKey.generate(), ReplayFilter(1000))


@pytest.fixture
def keys():
    return {epoch: make_key(epoch) for epoch in (6, 7, 8, 9)}


@pytest.fixture
def ring(keys):
    """Present epoch 7; 9 is known and not accepted yet."""
    made = Keyring()
    for key in keys.values():
        made.put(key)
    made.accept((7, 6, 8))
    return made


def packet_for(key, forward=False):
    path = [Hop(PeerId(b"p" * 16), key.public, 0.1)]
    if forward:
        path.append(Hop(PeerId(b"q" * 16), MixKey.generate().public, 0.0))
    return wrap(GEOMETRY, path, b"m" * GEOMETRY.message_bytes)


@pytest.mark.parametrize("epoch", [6, 7, 8])
@pytest.mark.parametrize("forward", [False, True])
def test_each_accepted_key_unwraps(ring, keys, epoch, forward):
    key, unwrapped = ring.unwrap(GEOMETRY, packet_for(keys[epoch].key, forward))
    assert key is keys[epoch]
    assert isinstance(unwrapped, Forward if forward else Deliver)


def test_a_key_that_is_not_accepted_yet_does_not(ring, keys):
    key, unwrapped = ring.unwrap(GEOMETRY, packet_for(keys[9].key))
    assert (key, unwrapped) == (keys[7], Rejected(DropReason.BAD_MAC))
    ring.accept((8, 7, 9))
    assert ring.unwrap(GEOMETRY, packet_for(keys[9].key))[0] is keys[9]


@pytest.fixture
def tries(monkeypatch):
    real = keyring_module.unwrap
    counted = mock.Mock(side_effect=real)
    monkeypatch.setattr(keyring_module, "unwrap", counted)
    return counted


@pytest.mark.parametrize(("epoch", "costs"), [(7, 1), (6, 2), (8, 3), (9, 3)])
def test_wrong_keys_cost_tries_and_nothing_else(ring, keys, tries, epoch, costs):
    ring.unwrap(GEOMETRY, packet_for(keys[epoch].key))
    assert tries.call_count == costs


@pytest.mark.parametrize(
    ("spoil", "reason", "costs"),
    [
        (lambda packet: packet[:-1], DropReason.BAD_SIZE, 1),
        (lambda packet: packet + b"x", DropReason.BAD_SIZE, 1),
        (lambda _: b"", DropReason.BAD_SIZE, 1),
        (lambda packet: bytes(32) + packet[32:], DropReason.LOW_ORDER, 1),
        (lambda packet: packet[:40] + bytes([packet[40] ^ 1]) + packet[41:], DropReason.BAD_MAC, 3),
        (lambda packet: packet[:-1] + bytes([packet[-1] ^ 1]), DropReason.BAD_BODY, 1),
    ],
)
def test_garbage_is_rejected_for_what_it_is(ring, keys, tries, spoil, reason, costs):
    key, unwrapped = ring.unwrap(GEOMETRY, spoil(packet_for(keys[7].key)))
    assert (key, unwrapped) == (keys[7], Rejected(reason))
    assert tries.call_count == costs


@pytest.mark.parametrize("epoch", [6, 8])
def test_a_spoilt_body_under_another_key_is_told_as_such(ring, keys, epoch):
    """The header fits, so that the key is known: a body that does not is no wrong MAC."""
    packet = packet_for(keys[epoch].key)
    key, unwrapped = ring.unwrap(GEOMETRY, packet[:-1] + bytes([packet[-1] ^ 1]))
    assert (key, unwrapped) == (keys[epoch], Rejected(DropReason.BAD_BODY))


@given(st.binary(min_size=GEOMETRY.packet_bytes, max_size=GEOMETRY.packet_bytes) | st.binary(max_size=80))
def test_no_bytes_crash_it(data):
    ring = Keyring()
    ring.put(make_key(1))
    ring.put(make_key(2))
    ring.accept((1, 2))
    _, unwrapped = ring.unwrap(GEOMETRY, data)
    assert isinstance(unwrapped, Rejected)


def test_what_it_holds(ring, keys):
    assert ring.accepted == (7, 6, 8)
    assert {key.epoch for key in ring} == {6, 7, 8, 9}
    assert 9 in ring
    assert 5 not in ring
    assert ring[9] is keys[9]
    with pytest.raises(KeyError):
        ring[5]


def test_epochs_without_a_key_are_not_accepted(ring):
    ring.accept((5, 9, 7))
    assert ring.accepted == (9, 7)


def test_a_key_may_be_put_in_the_place_of_another(ring, keys):
    fresh = make_key(7)
    ring.put(fresh)
    ring.accept((7, 6, 8))
    assert ring.unwrap(GEOMETRY, packet_for(fresh.key))[0] is fresh
    assert ring.unwrap(GEOMETRY, packet_for(keys[7].key))[1] == Rejected(DropReason.BAD_MAC)


def test_forgetting_ends_it(ring, keys):
    packet = packet_for(keys[6].key)
    ring.forget(6)
    ring.forget(6)
    ring.forget(77)
    assert ring.accepted == (7, 8)
    assert 6 not in ring
    assert ring.unwrap(GEOMETRY, packet)[1] == Rejected(DropReason.BAD_MAC)


def test_a_forgotten_key_is_gone_from_memory_with_its_tags():
    ring = Keyring()
    for epoch in (6, 7):
        ring.put(make_key(epoch))
    ring.accept((7, 6))
    private = ring[6].key.private
    packet = packet_for(ring[6].key)
    key, unwrapped = ring.unwrap(GEOMETRY, packet)
    assert key.replay.check_and_add(unwrapped.tag) is None
    tags = weakref.ref(key.replay)
    del key
    ring.forget(6)
    gc.collect()
    assert tags() is None
    held = [thing for thing in gc.get_objects() if isinstance(thing, EpochKey) and thing.epoch == 6]
    assert held == []
    mixed = [t for t in gc.get_objects() if isinstance(t, MixKey) and t.private == private]
    assert mixed == []


@given(
    st.lists(st.tuples(st.sampled_from(["tags", "next", "again", "forget"]), st.integers(0, 40)), max_size=40)
)
def test_expected_false_replays_are_counted_through_all_keys_and_never_fall(steps):
    """`again`: a key comes with tags that an earlier process has accepted, and counted."""
    ring, number, newest = Keyring(), 0, 7
    expected = told = 0.0
    ring.put(make_key(newest))
    for step, count in steps:
        match step:
            case "tags":
                for key in ring:
                    for _ in range(count):
                        number += 1
                        assert key.replay.check_and_add(number.to_bytes(16, "big")) is None
                    expected += count * key.replay.false_positive_rate
            case "next" | "again":
                newest += step == "next"
                fresh = make_key(newest)
                fresh.replay.load(b"%16d" % loaded for loaded in range(count))
                ring.put(fresh)
            case "forget":
                ring.forget(newest - count % 3)
        assert ring.expected_false_positives == pytest.approx(expected, abs=1e-11)
        assert ring.expected_false_positives >= told
        told = ring.expected_false_positives
