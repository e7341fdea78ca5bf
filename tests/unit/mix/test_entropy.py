from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.mix import PoolEntropy, end_to_end_bits


def h(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1.0 - p) if q > 0.0)


def run(entropy: PoolEntropy, rounds: list[tuple[int, int]]) -> list[float]:
    """For each round: so many come, then so many leave."""
    bits = []
    for come, leave in rounds:
        for _ in range(come):
            entropy.arrive()
        bits.append(entropy.leave(leave))
    return bits


# -- the recursion -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([(1, 1)], [0.0]),
        ([(8, 8), (8, 8), (2, 2)], [3.0, 3.0, 1.0]),  # emptied each time: log2(n)
        ([(2, 1), (0, 1)], [1.0, 1.0]),  # without company entropy stays: which of the two left first?
        ([(2, 1), (1, 1)], [1.0, 1.5]),  # 1/2, 1/4, 1/4
        ([(2, 1), (1, 1), (1, 1)], [1.0, 1.5, 1.75]),  # 1/2, 1/4, 1/8, 1/8
        # 4 in, 2 out: 1/4 each; 2 more: 1/4, 1/4, and 1/8 four times
        ([(4, 2), (2, 2)], [2.0, 2.5]),
        # after it 6 more: h(1/4) + 3/4 log2(6) + 1/4 * 2.5 = 0.811278 + 1.938722 + 0.625
        ([(4, 2), (2, 2), (6, 8)], [2.0, 2.5, 3.375]),
        # emptied, it knows nothing of what was before
        ([(4, 2), (2, 2), (6, 8), (1, 1), (2, 2)], [2.0, 2.5, 3.375, 0.0, 1.0]),
        # 3 kept of 4, 1 more: h(3/4) + 0 + 3/4 * 2 = 0.811278 + 1.5
        ([(4, 1), (1, 1)], [2.0, 2.3112781]),
    ],
)
def test_tables_computed_by_hand(rounds: list[tuple[int, int]], expected: list[float]) -> None:
    assert run(PoolEntropy(), rounds) == pytest.approx(expected)


ROUNDS = st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 1.0)), max_size=40)


@given(ROUNDS)
def test_it_is_the_published_recursion_and_the_entropy_of_the_distribution(
    rounds: list[tuple[int, float]],
) -> None:
    """Against the formula of Loopix, term by term, and against the probabilities themselves."""
    entropy, kept, published, chances = PoolEntropy(), 0, 0.0, list[float]()
    for k, share in rounds:
        slots = kept + k
        if not slots:
            continue
        old = kept / slots
        published = h(old) + ((1.0 - old) * math.log2(k) if k else 0.0) + old * published
        chances = [old * chance for chance in chances] + [1.0 / slots] * k
        leave = max(1, round(share * slots))
        (bits,) = run(entropy, [(k, leave)])
        assert bits == pytest.approx(published, abs=1e-9)
        assert bits == pytest.approx(-sum(c * math.log2(c) for c in chances if c > 0.0), abs=1e-9)
        kept = slots - leave
        if not kept:
            published, chances = 0.0, []


def test_cleared_it_starts_afresh() -> None:
    entropy = PoolEntropy()
    run(entropy, [(20, 3), (7, 2)])
    entropy.arrive()
    entropy.clear()
    assert run(entropy, [(2, 1), (1, 1)]) == pytest.approx([1.0, 1.5])


# -- end to end --------------------------------------------------------------------------------


def simulated(candidates: int, senders: int, draws: int = 4000) -> float:
    rng = random.Random(candidates * 1000 + senders)
    total = 0.0
    for _ in range(draws):
        boxes = [0] * senders
        for _ in range(candidates):
            boxes[rng.randrange(senders)] += 1
        total -= sum(b / candidates * math.log2(b / candidates) for b in boxes if b)
    return total / draws


@pytest.mark.parametrize(
    ("candidates", "senders"), [(2, 2), (2, 10), (5, 3), (8, 100), (64, 10), (100, 4), (256, 200)]
)
def test_it_equals_a_simulation(candidates: int, senders: int) -> None:
    bits = end_to_end_bits(math.log2(candidates) / 2, 2, senders)
    assert bits == pytest.approx(simulated(candidates, senders), abs=0.01)


def test_cases_computed_by_hand() -> None:
    assert end_to_end_bits(1.0, 1, 2) == pytest.approx(0.5)  # two coins: same side or not
    assert end_to_end_bits(1.0, 1, 4) == pytest.approx(0.75)
    # three among three: 1/9 all alike; 2/3 of them 2 + 1: 0.918296 bits; 2/9 all different: log2(3)
    assert end_to_end_bits(math.log2(3), 1, 3) == pytest.approx(2 / 3 * 0.9182958 + 2 / 9 * math.log2(3))
    # halfway between one candidate and two
    assert end_to_end_bits(math.log2(1.5), 1, 4) == pytest.approx(0.375)


@pytest.mark.parametrize("candidates", [4, 8, 20, 500])
def test_between_two_senders_it_is_the_sum_over_all_numbers_of_heads(candidates: int) -> None:
    expected = sum(math.comb(candidates, heads) * h(heads / candidates) for heads in range(candidates + 1))
    bits = end_to_end_bits(math.log2(candidates), 1, 2)
    assert bits == pytest.approx(expected / 2**candidates, abs=1e-9)


@pytest.mark.parametrize(("bits", "hops", "senders"), [(0.0, 3, 50), (5.0, 0, 50), (5.0, 3, 1), (5.0, 3, 0)])
def test_without_bits_hops_or_company_there_is_no_anonymity(bits: float, hops: int, senders: int) -> None:
    assert end_to_end_bits(bits, hops, senders) == 0.0


def test_few_candidates_rarely_share_a_sender_and_many_make_all_senders_alike() -> None:
    assert end_to_end_bits(2.0, 2, 1_000_000) == pytest.approx(4.0, abs=1e-4)
    assert end_to_end_bits(5.0, 5, 40) == pytest.approx(math.log2(40), abs=1e-4)
    assert end_to_end_bits(1e300, 16, 40) == math.log2(40)


@given(st.floats(0.0, 20.0), st.integers(0, 16), st.integers(0, 400))
def test_it_stays_within_bounds(bits: float, hops: int, senders: int) -> None:
    found = end_to_end_bits(bits, hops, senders)
    assert 0.0 <= found <= math.log2(max(senders, 1))
    assert found <= bits * hops + 1e-9


@given(st.floats(0.0, 10.0), st.floats(0.0, 0.5), st.integers(1, 8), st.integers(1, 300), st.integers(1, 300))
def test_it_rises_with_each_argument(bits: float, more: float, hops: int, senders: int, others: int) -> None:
    here = end_to_end_bits(bits, hops, senders) - 1e-9
    assert end_to_end_bits(bits + more, hops, senders) >= here
    assert end_to_end_bits(bits, hops + 1, senders) >= here
    assert end_to_end_bits(bits, hops, senders + others) >= here


@pytest.mark.parametrize("senders", [2, 3, 10, 100])
def test_it_rises_without_a_step_where_the_exact_sum_gives_way_to_the_expansion(senders: int) -> None:
    middle = math.log2(1000 * senders)
    found = [end_to_end_bits(middle + step * 1e-3, 1, senders) for step in range(-50, 51)]
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert all(0.0 < step < 2e-6 for step in steps)
