from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from peerd.training.freezing import Freezing


@given(st.integers(0, 300), st.integers(1, 60), st.floats(0.0, 1.0, allow_subnormal=False), st.integers())
def test_every_fragment_is_frozen_once_and_all_are_after_the_last_batch(fragments, total, streaming, seed):
    freezing = Freezing(range(fragments), total, streaming, random.Random(seed))
    frozen: list[int] = []
    for batches in range(1, total + 1):
        new = freezing.after(batches)
        assert not new or batches > total * (1.0 - streaming) or batches == total
        frozen += new
        expected = fragments * (1.0 - (total - batches) / (total * streaming)) if streaming > 0.0 else 0.0
        if batches < total:
            assert abs(len(frozen) - max(expected, 0.0)) < 1.001
    assert sorted(frozen) == list(range(fragments))


def test_with_no_streaming_nothing_is_frozen_before_the_end():
    freezing = Freezing(range(10), 4, 0.0)
    assert [len(freezing.after(batches)) for batches in range(1, 5)] == [0, 0, 0, 10]


def test_the_order_is_drawn_anew_and_for_each_peer_alone():
    """Else the time when an index comes would tell a sender's pace."""
    orders = {tuple(Freezing(range(40), 1, 0.5).after(1)) for _ in range(20)}
    assert len(orders) == 20
