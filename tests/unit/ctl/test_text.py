from __future__ import annotations

import contextlib

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.text import (
    Duration,
    duration,
    epsilon_of,
    number_of,
    one_line,
    parse_duration,
    printable,
    seconds,
    size,
)
from peerd.errors import InvalidInputError


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert "\n" not in line and "  " not in line


@given(st.text())
def test_printable_cannot_steer_the_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_printable_keeps_indentation() -> None:
    assert printable('  File "x"\x1b[31m\r\n') == '  File "x" [31m'


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50ms", 0.05), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("3", 3.0), (".5", 0.5),
     ("20 us", 2e-5), ("0", 0.0), ("2min", 120.0)],
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    assert parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "ms", "-1s", "1e3", "nan", "inf", "1 fortnight", "1,5s", "9" * 400])
def test_not_durations(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0s"), (0.05, "50ms"), (0.07, "70ms"), (2e-5, "20us"), (1.5, "1.5s"), (300.0, "300s")],
)
def test_durations_as_they_are_taken(value: float, text: str) -> None:
    assert duration(value) == text


@given(st.floats(1e-6, 1e8))
def test_a_shown_duration_is_taken_as_the_same(value: float) -> None:
    assert parse_duration(duration(value)) == pytest.approx(value, rel=1e-5)


def test_a_positive_duration_is_not_zero() -> None:
    assert Duration(positive=True).convert("1ms", None, None) == 0.001
    with pytest.raises(click.BadParameter, match="more than 0"):
        Duration(positive=True).convert("0ms", None, None)


def test_number_of() -> None:
    assert (number_of(1, "hop"), number_of(2, "hop")) == ("1 hop", "2 hops")


@given(st.text())
def test_duration_type_never_raises_but_bad_parameter(text: str) -> None:
    with contextlib.suppress(click.BadParameter):
        assert Duration().convert(text, None, None) >= 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2e-5, "20 us"), (0.0123, "12 ms"), (1.25, "1.2 s"), (83, "1m23s"), (7260, "2h01m")],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (94 << 20, "94.0 MiB"), (5 << 40, "5120.0 GiB")],
)
def test_size(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.00123, "0.00123"), (0.0012301, "0.00124"), (0.9999, "1"), (28.3734, "28.38"),
     (999.999, "1000.00"), (4380.4, "4,381"), (2e12, "2,000,000,000,000")],
)  # fmt: skip
def test_an_epsilon_is_never_shown_smaller_than_it_is(value: float, text: str) -> None:
    assert epsilon_of(value) == text
