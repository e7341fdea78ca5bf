from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.link.throttle import SWEEP_AT, Throttle, TokenBucket, TokenBuckets


def test_one_line_for_many_events_of_a_kind():
    throttle = Throttle(10.0)
    assert throttle.admit("a", 100.0) == 0
    assert throttle.admit("a", 105.0) is None
    assert throttle.admit("b", 105.0) == 0
    assert throttle.admit("a", 109.9) is None
    assert throttle.admit("a", 110.0) == 2
    assert throttle.admit("a", 120.0) == 0


@given(st.floats(0.1, 100.0), st.integers(1, 50), st.lists(st.floats(0.0, 10.0), min_size=1, max_size=100))
def test_a_bucket_admits_its_burst_and_then_its_rate(per_second, burst, gaps):
    bucket, now, admitted, start = TokenBucket(per_second, burst, 0.0), 0.0, 0, 0.0
    for gap in gaps:
        now += gap
        admitted += bucket.admit(now)
        assert admitted <= burst + (now - start) * per_second + 1e-6
    assert admitted >= min(burst, len(gaps))


def test_a_full_bucket_is_like_a_new_one():
    bucket = TokenBucket(2.0, 4.0, 0.0)
    assert bucket.full(0.0)
    assert bucket.admit(0.0)
    assert not bucket.full(0.4)
    assert bucket.full(0.5)


def test_each_has_its_own_and_keeps_it():
    buckets = TokenBuckets(1.0, 2.0)
    assert [buckets.of("a", 0.0).admit(0.0) for _ in range(3)] == [True, True, False]
    assert buckets.of("b", 0.0).admit(0.0)
    assert buckets.of("a", 1.0).admit(1.0)
    assert not buckets.of("a", 1.0).admit(1.0)


def test_only_who_has_drawn_on_it_of_late_is_remembered():
    buckets = TokenBuckets(1.0, 2.0)
    assert buckets.of("busy", 0.0).admit(0.0)
    for number in range(10 * SWEEP_AT):
        now = number / 10
        buckets.of("busy", now).admit(now)
        buckets.of(number, now).admit(now)
        assert len(buckets) <= SWEEP_AT + 1
    assert not buckets.of("busy", 64.0).full(64.0)


def test_many_that_draw_at_once_are_all_remembered():
    buckets = TokenBuckets(1.0, 2.0)
    for number in range(1000):
        assert [buckets.of(number, 0.0).admit(0.0) for _ in range(3)] == [True, True, False]
    assert len(buckets) == 1000
    assert not any(buckets.of(number, 0.0).admit(0.0) for number in range(1000))
