from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.observe import Histogram, Tally
from peerd.observe.tally import ENTROPY_BUCKETS, ENTROPY_SMOOTHING, RECENT_SAMPLES
from peerd.types import DropReason, PacketKind


def test_every_kind_and_reason_is_there_from_the_start() -> None:
    tally = Tally()
    assert tally.sent_packets == dict.fromkeys(PacketKind, 0)
    assert tally.drops == dict.fromkeys(DropReason, 0)


def test_what_happens_is_counted() -> None:
    tally = Tally()
    for kind in (PacketKind.OWN, PacketKind.OWN, PacketKind.LOOP):
        tally.sent(kind)
    tally.dropped(DropReason.REPLAY)
    tally.dropped(DropReason.BAD_CELL, 5)
    tally.acknowledged(0.2)
    tally.loop_returned(0.7)
    assert (tally.sent_packets[PacketKind.OWN], tally.sent_packets[PacketKind.LOOP]) == (2, 1)
    assert (tally.drops[DropReason.REPLAY], tally.drops[DropReason.BAD_CELL]) == (1, 5)
    assert (tally.acked, tally.rtt.total, tally.loop_rtt.total) == (1, 0.2, 0.7)


def test_changes_of_peers_and_records_of_gossip_have_a_fixed_set_of_labels() -> None:
    tally = Tally()
    assert set(tally.peer_changes) == {"joining", "alive", "suspect", "left", "dead", "revoked"}
    tally.peer_changed("left")
    assert tally.peer_changes["left"] == 1
    with pytest.raises(KeyError):
        tally.peer_changed("unknown")
    before = set(tally.gossip_records)
    tally.gossip_record("run", "accepted", 2)
    tally.gossip_record("no kind of record", "refused")
    assert tally.gossip_records["run", "accepted"] == 2
    assert tally.gossip_records["unknown", "refused"] == 1
    assert set(tally.gossip_records) == before
    with pytest.raises(KeyError):
        tally.gossip_record("run", "lost")


def test_a_misspelt_counter_is_an_error_and_not_a_new_counter() -> None:
    with pytest.raises(AttributeError):
        Tally().ackd = 1


def test_quantiles_by_nearest_rank() -> None:
    tally = Tally()
    assert tally.rtt_quantile(0.95) == 0.0
    for rtt in (0.4, 0.1, 0.3, 0.2):
        tally.acknowledged(rtt)
    assert [tally.rtt_quantile(q) for q in (0.0, 0.25, 0.5, 0.51, 0.95, 1.0)] == [
        0.1, 0.1, 0.2, 0.3, 0.4, 0.4,
    ]  # fmt: skip


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_a_quantile_is_the_least_sample_with_that_share_at_or_below(samples: list[float], q: float) -> None:
    tally = Tally()
    for rtt in samples:
        tally.acknowledged(rtt)
    at = tally.rtt_quantile(q)
    assert at in samples
    assert sum(rtt <= at for rtt in samples) >= q * len(samples)
    assert sum(rtt < at for rtt in samples) < max(q * len(samples), 1)


def test_memory_for_samples_is_bounded_and_the_latest_stay() -> None:
    tally = Tally()
    for number in range(3 * RECENT_SAMPLES):
        tally.acknowledged(float(number))
    assert len(tally.recent_rtt) == RECENT_SAMPLES
    assert tally.rtt_quantile(0.0) == 2 * RECENT_SAMPLES
    assert sum(tally.rtt.counts) == tally.acked == 3 * RECENT_SAMPLES


@given(st.lists(st.one_of(st.floats(0.0, 100.0), st.sampled_from([0.0005, 0.01, 60.0]))))
def test_buckets_count_what_is_at_or_below_their_bound(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    rows = histogram.cumulative()
    assert rows[-1] == ("+Inf", len(values))
    assert [bound for bound, _ in rows[:-1]] == [str(bound) for bound in histogram.bounds]
    for bound, count in rows[:-1]:
        assert count == sum(value <= float(bound) for value in values)
    assert histogram.total == pytest.approx(sum(values))


def test_the_first_departure_sets_the_average_and_later_ones_move_it() -> None:
    tally = Tally()
    assert (tally.entropy_bits, tally.mixed_by("pool"), tally.entropy) == ({}, 0, {})
    tally.mixed("pool", 4.0, 2)
    assert (tally.entropy_bits, tally.mixed_by("pool")) == ({"pool": 4.0}, 2)
    tally.mixed("pool", 0.0, 1)
    assert tally.entropy_bits["pool"] == pytest.approx(4.0 * (1 - ENTROPY_SMOOTHING))
    tally.mixed("timed", 3.0, 1)
    assert tally.entropy_bits["timed"] == 3.0  # what another strategy reached says nothing of this one
    for _ in range(20):
        tally.mixed("timed", 1.0, 256)
    assert tally.entropy_bits["timed"] == pytest.approx(1.0, abs=1e-6)
    assert tally.entropy_bits["pool"] == pytest.approx(4.0 * (1 - ENTROPY_SMOOTHING))
    assert [tally.mixed_by(name) for name in ("pool", "timed", "none")] == [3, 20 * 256 + 1, 0]
    assert tally.mean_entropy_bits("pool") == pytest.approx(8.0 / 3)
    assert tally.mean_entropy_bits("none") == 0.0
    assert {name: sum(h.counts) for name, h in tally.entropy.items()} == {"pool": 3, "timed": 20 * 256 + 1}
    assert tally.entropy["pool"].bounds == ENTROPY_BUCKETS
    assert tally.entropy["pool"].total == 8.0


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 300)), min_size=1, max_size=50))
def test_the_average_stays_among_what_it_averages_however_departures_are_grouped(
    groups: list[tuple[float, int]],
) -> None:
    together, one_by_one = Tally(), Tally()
    for bits, count in groups:
        together.mixed("exponential", bits, count)
        for _ in range(count):
            one_by_one.mixed("exponential", bits, 1)
    bits = [b for b, _ in groups]
    average = together.entropy_bits["exponential"]
    assert min(bits) - 1e-9 <= average <= max(bits) + 1e-9
    assert average == pytest.approx(one_by_one.entropy_bits["exponential"], abs=1e-6)
    mixed = [tally.mixed_by("exponential") for tally in (together, one_by_one)]
    assert mixed == [sum(count for _, count in groups)] * 2
    assert together.entropy["exponential"].counts == one_by_one.entropy["exponential"].counts


def test_a_quantile_is_of_all_samples_also_of_those_that_came_after_the_last_one_asked_for() -> None:
    tally = Tally()
    tally.acknowledged(1.0)
    assert tally.rtt_quantile(0.5) == 1.0
    tally.acknowledged(0.5)
    assert tally.rtt_quantile(0.5) == 0.5
    assert tally.rtt_quantile(1.0) == 1.0
