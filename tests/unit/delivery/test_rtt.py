from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.delivery.rtt import RttEstimator


def test_first_sample_as_in_rfc_6298_section_2_2():
    rtt = RttEstimator(initial=3.0, minimum=0.01, maximum=60.0)
    assert rtt.timeout(1) == 3.0
    rtt.sample(0.2)
    assert rtt.smoothed == 0.2
    assert rtt.variation == 0.1
    assert abs(rtt.timeout(1) - 0.6) < 1e-12


def test_second_sample_as_in_section_2_3():
    rtt = RttEstimator(initial=3.0, minimum=0.01, maximum=60.0)
    rtt.sample(0.2)
    rtt.sample(0.4)
    assert abs(rtt.variation - (0.75 * 0.1 + 0.25 * 0.2)) < 1e-12
    assert abs(rtt.smoothed - (0.875 * 0.2 + 0.125 * 0.4)) < 1e-12


def test_timeouts_double_up_to_the_maximum():
    rtt = RttEstimator(initial=3.0, minimum=0.5, maximum=10.0)
    assert [rtt.timeout(n) for n in (1, 2, 3, 4)] == [3.0, 6.0, 10.0, 10.0]


@given(st.lists(st.floats(min_value=-1.0, max_value=100.0), max_size=50), st.integers(1, 40))
def test_always_within_its_bounds(samples, attempt):
    rtt = RttEstimator(initial=3.0, minimum=0.5, maximum=30.0)
    for sample in samples:
        rtt.sample(sample)
    assert 0.5 <= rtt.timeout(attempt) <= 30.0


def test_limits_that_change_hold_at_once_and_what_was_measured_stays():
    rtt = RttEstimator(initial=3.0, minimum=0.5, maximum=10.0)
    rtt.set_limits(5.0, 1.0, 8.0)
    assert [rtt.timeout(n) for n in (1, 2)] == [5.0, 8.0]
    rtt.sample(0.1)
    rtt.set_limits(9.0, 2.0, 8.0)
    assert [rtt.timeout(n) for n in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert rtt.smoothed == 0.1
