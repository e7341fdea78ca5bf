from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.top.columns import BY_KEY, COLUMNS
from ctl.top.controls import MAX_FILTER, Controls
from ctl.top.keys import NAMED, SEQUENCES
from ctl.top.model import Model, Row
from ctl.top.sample import Sample

TITLES = [column.title for column in COLUMNS]
ROWS = [
    Row("alice", "up", stage="training", accuracy=0.5, memory_bytes=3),
    Row("bob", "up", stage="exchanging", accuracy=0.9, memory_bytes=2, alarms=("disk",)),
    Row("carol", "away", error="no"),
    Row("dora", "up", stage="training", accuracy=0.7, memory_bytes=9),
]


def pressed(*keys: str, rows: list[Row] = ROWS) -> Controls:
    controls = Controls()
    for key in keys:
        controls.press(key, controls.arranged(rows), TITLES)
    return controls


def order(*keys: str) -> list[str]:
    return [row.name for row in pressed(*keys).arranged(ROWS)]


def test_by_name_at_first() -> None:
    assert order() == ["alice", "bob", "carol", "dora"]
    assert order("r") == ["dora", "carol", "bob", "alice"]


def test_numbers_go_down_and_what_is_unknown_comes_last_both_ways() -> None:
    assert order("a") == ["bob", "dora", "alice", "carol"]
    assert order("a", "r") == order("a", "a") == ["alice", "dora", "bob", "carol"]
    assert order("m") == ["dora", "alice", "bob", "carol"]
    assert order("m", "n") == ["alice", "bob", "carol", "dora"]


@pytest.mark.parametrize("key", sorted(BY_KEY))
def test_every_sort_key_sorts_real_rows(key: str, sample_of: Any) -> None:
    model = Model(["alice", "bob", "carol"])
    model.take("alice", sample_of("alice"))
    model.take("alice", sample_of("alice", at=1.0, cells=5))
    model.take("bob", Sample(0.0, error="gone"))
    controls = pressed("right", key)
    assert controls.sort == BY_KEY[key]
    names = [row.name for row in controls.arranged(model.rows())]
    assert names[0] == "alice" and sorted(names) == ["alice", "bob", "carol"]


def test_arrows_go_round_the_columns() -> None:
    assert pressed("right").sort == TITLES[1]
    assert pressed("left").sort == TITLES[-1]
    assert pressed(*["right"] * len(TITLES)).sort == TITLES[0]


def test_the_selection_is_a_peer_and_stays_with_it() -> None:
    controls = pressed("down", "down", "up", "j")
    assert controls.selected == "carol"
    controls.press("a", ROWS, TITLES)
    arranged = controls.arranged(ROWS)
    assert arranged[controls.place(arranged)].name == "carol"
    assert pressed("page-down").selected == pressed("end").selected == "dora"
    assert pressed("end", "home").selected == "alice"
    assert pressed("down", rows=[]).selected == ""


def test_the_filter_is_typed_kept_and_forgotten() -> None:
    controls = pressed("/", "t", "r", "a", "x", "backspace", "i")
    assert controls.editing and controls.filter == "trai"
    assert [row.name for row in controls.arranged(ROWS)] == ["alice", "dora"]
    controls.press("enter", [], TITLES)
    assert not controls.editing and controls.filter == "trai"
    controls.press("escape", [], TITLES)
    assert controls.filter == ""
    assert pressed("/", "q", "escape").filter == "" and not pressed("/", "q").done
    assert [row.name for row in pressed("/", *"DISK").arranged(ROWS)] == ["bob"]


def test_the_rest() -> None:
    assert pressed("space").paused and not pressed("space", "p").paused
    assert pressed("h").help and not pressed("h", "h").help
    assert not pressed("?", "q").done  # leaves the help
    assert pressed("q").done
    assert not pressed("enter").panel


KEYS = st.sampled_from([*SEQUENCES.values(), *NAMED.values(), "escape", *"abcdefghijklmnopqrstuvwxyz/?ß"])


@given(st.lists(KEYS, max_size=60))
def test_whatever_is_pressed_no_row_appears_twice_or_from_nowhere(keys: list[str]) -> None:
    controls = pressed(*keys)
    names = [row.name for row in controls.arranged(ROWS)]
    assert len(set(names)) == len(names) and set(names) <= {row.name for row in ROWS}
    assert len(controls.filter) <= MAX_FILTER
    if not controls.filter:
        assert len(names) == len(ROWS)
