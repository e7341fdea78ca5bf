from __future__ import annotations

import numpy as np
import pytest

from peerd.errors import InvalidInputError
from peerd.layout import Layout
from peerd.training.streaming import MOST, FragmentStream


@pytest.fixture
def said() -> list[tuple[int, ...]]:
    return []


@pytest.fixture
def update() -> np.ndarray:
    return np.zeros(10, np.float32)


@pytest.fixture
def stream(said, update) -> FragmentStream:
    made = FragmentStream("m:f", said.append)
    made.begin(update, Layout(10, 4))
    return made


def test_what_is_put_lies_there_before_it_is_told(stream, said, update):
    stream.put(2, np.array([1, 2], np.float32))
    stream.put(0, np.full(4, 7, np.float32))
    assert said == []
    assert update.tolist() == [7, 7, 7, 7, 0, 0, 0, 0, 1, 2]
    stream.tell()
    stream.tell()
    assert said == [(2, 0)]
    trained = np.array([7, 7, 7, 7, 3, 3, 3, 3, 1, 2], np.float32)
    stream.check(trained)


def test_many_fragments_are_told_in_several_lines(said):
    stream = FragmentStream("m:f", said.append)
    stream.begin(np.zeros(MOST + 1, np.float32), Layout(MOST + 1, 1))
    for index in range(MOST + 1):
        stream.put(index, np.zeros(1, np.float32))
    stream.tell()
    assert [len(fragments) for fragments in said] == [MOST, 1]


def test_a_new_round_begins_with_nothing(stream, said, update):
    stream.put(0, np.ones(4, np.float32))
    stream.begin(update, Layout(10, 4))
    stream.tell()
    assert said == []
    stream.check(np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("index", "values", "says"),
    [
        (3, [1], "no fragment 3"),
        (-1, [1, 1, 1, 1], "no fragment -1"),
        (0, [1, 1], "fragment 0 has the wrong size"),
        (2, [1, 1, 1], "fragment 2 has the wrong size"),
        (0, [1, np.nan, 1, 1], "diverged"),
        (0, [1, np.inf, 1, 1], "diverged"),
    ],
)
def test_what_is_no_fragment_is_refused(stream, index, values, says):
    with pytest.raises(InvalidInputError, match=says):
        stream.put(index, np.array(values, np.float32))


def test_no_fragments_are_taken_where_none_are_wanted(stream, update):
    stream.begin(update, None)
    with pytest.raises(InvalidInputError, match="no fragment"):
        stream.put(0, np.ones(4, np.float32))


def test_a_task_that_goes_on_training_what_it_called_final_is_found_out(stream):
    stream.put(1, np.ones(4, np.float32))
    with pytest.raises(InvalidInputError, match="changed fragment 1"):
        stream.check(np.zeros(10, np.float32))
