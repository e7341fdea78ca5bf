from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.enrolment.attempts import MAX_SOURCES, PER_SOURCE, TOTAL, WINDOW_SECONDS, Attempts


def test_who_fails_too_often_is_refused_and_forgiven():
    attempts = Attempts()
    for _ in range(PER_SOURCE):
        assert not attempts.refuses("192.0.2.1", 5.0)
        attempts.failed("192.0.2.1", 5.0)
    assert attempts.refuses("192.0.2.1", 5.0)
    assert attempts.refuses("::ffff:192.0.2.1", 5.0)
    assert not attempts.refuses("192.0.2.2", 5.0)
    assert not attempts.refuses("192.0.2.1", 5.0 + WINDOW_SECONDS)


def test_ipv6_is_counted_by_network():
    attempts = Attempts()
    for host in range(PER_SOURCE):
        attempts.failed(f"2001:db8::{host:x}", 0.0)
    assert attempts.refuses("2001:db8::ffff", 0.0)
    assert not attempts.refuses("2001:db8:0:1::1", 0.0)


def test_many_sources_together_are_refused():
    attempts = Attempts()
    for n in range(TOTAL):
        attempts.failed(f"10.0.{n // 256}.{n % 256}", 0.0)
    assert attempts.refuses("192.0.2.1", 0.0)
    assert not attempts.refuses("192.0.2.1", 1.0)


@given(st.lists(st.tuples(st.text(max_size=50), st.floats(0.0, 1e6)), max_size=50))
def test_no_source_crashes(events):
    attempts = Attempts()
    for source, now in events:
        attempts.refuses(source, now)
        attempts.failed(source, now)


def test_memory_is_bounded():
    attempts = Attempts()
    for n in range(3 * MAX_SOURCES):
        attempts.failed(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", float(n))
    assert len(attempts._sources) == MAX_SOURCES
