from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.membership.damping import CEILING, REUSE, UNBLEMISHED, Damping

HALF_LIFE = 60.0
damping = Damping(limit=3.0, half_life=HALF_LIFE)


def lose(*times, by=damping):
    penalty = UNBLEMISHED
    for now in times:
        penalty = by.after_loss(penalty, now)
    return penalty


def test_a_few_losses_are_no_flapping():
    assert lose(100.0).until is None
    assert lose(100.0, 101.0).until is None
    assert lose(100.0).value == 1.0


def test_losses_far_apart_are_forgotten():
    assert all(lose(*range(0, 60 * n, 60)).until is None for n in range(1, 50))
    assert lose(0.0, 60.0).value == pytest.approx(1.5)


def test_at_the_limit_it_is_held_until_half_of_it():
    penalty = lose(100.0, 100.0, 100.0)
    assert penalty.value == 3.0
    assert penalty.until == 100.0 + HALF_LIFE


def test_while_it_is_held_every_loss_prolongs_that_though_it_is_below_the_limit():
    first = lose(100.0, 100.0, 100.0)
    later = damping.after_loss(first, 155.0)  # 1.6 and 1 more
    assert later.value < 3.0
    assert later.until == pytest.approx(155.0 + HALF_LIFE * 0.79, abs=1.0)
    assert damping.after_loss(first, 160.0).until is None  # that was over: it begins anew


def test_however_often_it_was_lost_two_half_lives_are_enough():
    assert lose(*[100.0] * 1000).until == 100.0 + 2 * HALF_LIFE


def test_one_loss_may_be_enough():
    strict = Damping(limit=1.0, half_life=10.0)
    assert lose(5.0, by=strict).until == 15.0


@given(
    limit=st.integers(1, 1000),
    half_life=st.floats(1e-6, 86_400.0),
    gaps=st.lists(st.floats(0.0, 1e6), max_size=60),
)
def test_it_never_lasts_longer_than_the_ceiling_allows_nor_less_than_a_half_life_from_the_limit(
    limit, half_life, gaps
):
    by, now, penalty, longest = Damping(limit, half_life), 0.0, UNBLEMISHED, half_life * 2.0 + 1e-3
    for gap in gaps:
        now += gap
        before, penalty = penalty, by.after_loss(penalty, now)
        assert 1.0 <= penalty.value <= max(CEILING * limit, 1.0)
        held = before.until is not None and now < before.until
        assert (penalty.until is not None) == (held or penalty.value >= limit)
        if penalty.until is not None:
            assert now < penalty.until <= now + longest
            decayed = penalty.value * 0.5 ** ((penalty.until - now) / half_life)
            assert decayed <= REUSE * limit * (1 + 1e-6) or penalty.until - now < 1e-3


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=40))
def test_a_further_loss_never_lets_it_in_sooner(gaps):
    now, penalty = 0.0, UNBLEMISHED
    for gap in gaps:
        now += gap
        before, penalty = penalty, damping.after_loss(penalty, now)
        if before.until is not None and now < before.until:
            assert penalty.until is not None
            assert penalty.until >= before.until - 1e-6
