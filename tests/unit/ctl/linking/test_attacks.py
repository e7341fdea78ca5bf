"""Single guesses and what is put together of them, on fragments of our own making."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.linking.assembly import assemble, tracks
from ctl.linking.attacks import across, attribution, within
from ctl.linking.features import FEATURES, LENGTH, look
from ctl.linking.haul import Caught
from ctl.linking.shadows import weights

Make = Callable[..., Caught]


def test_what_is_alike_is_linked(hauled: Make) -> None:
    caught = hauled(8, 4, 3, alike=3.0)
    seen = look(caught.haul)
    for count in (across(caught, seen), within(caught, seen, weights(caught.haul, seen))):
        rates = count.rates()
        assert rates["if_there"] == rates["right"] == 1.0
        assert rates["chance"] == pytest.approx(1 / 8)
    named = attribution(caught, seen)
    assert named.count.rates()["if_there"] == 1.0
    assert set(named.parts) == {1.0}
    whole = assemble(caught, seen, weights(caught.haul, seen))
    assert set(whole.updates) == set(whole.portraits) == {1.0}


def test_noise_is_linked_by_chance(hauled: Make) -> None:
    caught = hauled(8, 6, 6, alike=0.0)
    seen = look(caught.haul)
    for count in (across(caught, seen), within(caught, seen, seen.features), attribution(caught, seen).count):
        assert count.guesses == count.possible
        spread = (1 / 8 * 7 / 8 / count.guesses) ** 0.5
        assert abs(count.right / count.guesses - 1 / 8) < 5 * spread


def test_who_sends_longer_deltas_is_known_by_their_length(hauled: Make) -> None:
    caught = hauled(8, 4, 1, alike=0.0)
    for number, sender in enumerate(caught.sender):
        caught.haul.values[number] = caught.haul.values[number] * np.float32(2.0**sender)
    seen = look(caught.haul)
    assert seen.features.shape == (8 * 4, FEATURES)
    assert within(caught, seen, seen.features[:, LENGTH]).rates()["right"] == 1.0


def test_guesses_whose_answer_never_came_are_wrong(hauled: Make) -> None:
    caught = hauled(8, 4, 4, alike=3.0, part=0.3)
    seen = look(caught.haul)
    rates = across(caught, seen).rates()
    assert rates["if_there"] == pytest.approx(1.0, abs=0.06)
    assert rates["right"] < 0.6
    assert 1 / 8 < rates["chance"] < 0.9


def test_nothing_to_guess(hauled: Make) -> None:
    caught = hauled(3, 1, 1)
    seen = look(caught.haul)
    assert across(caught, seen).rates() == {"right": None, "if_there": None, "chance": None}
    caught.haul.references.clear()
    assert attribution(caught, seen).parts == []


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 4), st.floats(0.1, 1.0), st.integers(0, 1000))
def test_nothing_is_put_together_that_has_not_come(
    hauled: Make, senders: int, indices: int, rounds: int, part: float, seed: int
) -> None:
    caught = hauled(senders, indices, rounds, part=part, seed=seed)
    haul, seen = caught.haul, look(caught.haul)
    chained = tracks(haul, seen)
    assert sorted(number for some in chained for track in some for number in track) == list(
        range(len(haul.places))
    )
    for index, some in enumerate(chained):
        assert len(some) <= senders
        for track in some:
            assert {haul.places[number][1] for number in track} == {index}
            assert len({haul.places[number][0] for number in track}) == len(track)
    held = max(
        sum(of == sender and place[0] == round for of, place in zip(caught.sender, haul.places, strict=True))
        for sender in range(senders)
        for round in range(1, rounds + 1)
    )
    parts = assemble(caught, seen, seen.features).updates
    assert len(parts) == len(haul.places)
    assert all(1 / indices <= one <= held / indices + 1e-9 for one in parts)
