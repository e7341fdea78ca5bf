from __future__ import annotations

from typing import Any

import pytest

from ctl.top.columns import COLUMNS, compact, fitting, memory, moment
from ctl.top.controls import Controls
from ctl.top.marks import Marks
from ctl.top.model import Model
from ctl.top.sample import Sample
from ctl.top.screen import Drawn, draw, once

SIZES = [(20, 5), (40, 10), (80, 24), (120, 40), (200, 60), (1, 1)]


def model_of(sample_of: Any, names: list[str]) -> Model:
    model = Model(names)
    for name in names:
        model.take(name, sample_of(name, at=0.0))
        model.take(name, sample_of(name, at=2.0, cells=1234))
    return model


@pytest.fixture
def model(sample_of: Any) -> Model:
    return model_of(sample_of, ["alice", "bob", "carol"])


def screen(
    model: Model, size: tuple[int, int] = (80, 24), *keys: str, plain: bool = False
) -> tuple[Drawn, list[str]]:
    controls = Controls()
    for key in keys:
        controls.press(key, controls.arranged(model.rows()), [column.title for column in COLUMNS])
    drawn = draw(model, controls, size, "12:00:00", 2.0, Marks(plain))
    return drawn, [line.plain for line in drawn.lines]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keys", [(), ("h",), ("/", "x"), ("enter",), ("end", "space")])
@pytest.mark.parametrize("peers", [1, 3, 100])
def test_it_fills_the_screen_and_is_never_wider(
    sample_of: Any, size: tuple[int, int], keys: tuple[str, ...], peers: int
) -> None:
    drawn, _ = screen(model_of(sample_of, [f"peer{n:03}" for n in range(peers)]), size, *keys)
    assert len(drawn.lines) == size[1]
    assert max(line.cell_len for line in drawn.lines) <= size[0]


def test_what_stands_there(model: Model) -> None:
    _, lines = screen(model)
    text = "\n".join(lines)
    assert "lab  3/3 peers  9/12 links" in lines[0] and lines[0].endswith("12:00:00  every 2s")
    assert "abababab digits-cnn  round 3/4" in lines[1] and "62%" in lines[1]
    assert "accuracy 0.7500" in lines[1]
    assert "in 926  out 1,851" in lines[2]
    assert "Alarms    none" in text
    alice = next(line for line in lines if line.startswith("alice"))
    assert alice.split()[:4] == ["alice", "exchanging", "3/4", "0.7500"]
    assert "617" in alice  # cells out
    assert "q quit" in lines[-1]


@pytest.mark.parametrize("rounds", [3, 60, 9_999])
def test_the_bar_makes_room_for_the_accuracy(sample_of: Any, rounds: int) -> None:
    model = Model(["alice"])
    sample = sample_of("alice", at=0.0)
    sample.run.state, sample.run.round, sample.run.spec.rounds = "finished", rounds, rounds
    model.take("alice", sample)
    _, lines = screen(model)
    assert "accuracy 0.7500" in lines[1]
    assert len(lines[1]) <= 80


def test_a_peer_that_is_gone_stays_and_says_so(model: Model) -> None:
    model.take("bob", Sample(4.0, error="bob: no daemon answers"))
    _, lines = screen(model)
    row = next(line for line in lines if line.startswith("bob"))
    assert "away" in row and "no daemon" in row
    assert "2/3 peers" in lines[0]


def test_all_gone(model: Model) -> None:
    for name in model.names:
        model.take(name, Sample(4.0, error=f"{name}: gone"))
    _, lines = screen(model)
    assert "0/3 peers" in lines[0]
    assert sum("away" in line for line in lines) == 3


def test_alarms_are_loud(model: Model, sample_of: Any) -> None:
    sample = sample_of("alice", at=3.0)
    sample.status.alarms[:] = ["direct"]
    model.take("alice", sample)
    _, lines = screen(model)
    assert "ALARMS    DIRECT (alice)" in lines
    assert any(line.startswith("alice") and line.endswith("DIRECT") for line in lines)


def test_strangers_text_does_not_steer_the_terminal(model: Model, sample_of: Any) -> None:
    sample = sample_of("alice", at=3.0)
    sample.status.network = "x\x1b[2J\n"
    sample.status.version = "\x1b]0;title\x07"
    sample.run.spec.task = "\x9b31m"
    sample.peers[0].name = "b\x1b[1m"
    sample.peers[0].outbound = "\r\n"
    sample.status.alarms[:] = ["\x1b[5m"]
    sample.status.stage = "\x1bc"
    model.take("alice", sample)
    for keys in ((), ("h",)):
        _, lines = screen(model, (120, 40), *keys)
        assert all(line.isprintable() for line in lines)


def test_the_selected_row_is_on_the_screen_whatever_there_is(sample_of: Any) -> None:
    model = model_of(sample_of, [f"peer{n:03}" for n in range(100)])
    for keys, name in (((), "peer000"), (("end",), "peer099"), (("page-down", "page-down"), "peer020")):
        drawn, lines = screen(model, (80, 24), *keys)
        assert any(line.startswith(f"{name} ") for line in lines)
        assert any(f" {name} " in line and line.startswith("──") for line in lines)  # the panel
        assert len(drawn.shown) == 100


def test_the_panel_shows_links_that_are_not_well_first(model: Model) -> None:
    _, lines = screen(model)
    links = lines[next(i for i, line in enumerate(lines) if line.startswith("Link to")) + 1 :]
    assert links[0].split()[:2] == ["carol", "suspect"]
    _, without = screen(model, (80, 24), "enter")
    assert not any(line.startswith("Link to") for line in without)


def test_paused_help_and_filter_are_said(model: Model) -> None:
    assert "PAUSED" in screen(model, (80, 24), "space")[1][0]
    help_text = "\n".join(screen(model, (80, 24), "h")[1])
    assert "the other way round" in help_text and "quit" in help_text
    assert screen(model, (80, 24), "/", "b", "o")[1][-1] == "/bo_"
    kept = screen(model, (80, 24), "/", "b", "o", "enter")[1]
    assert kept[-1].startswith("filter 'bo'")
    assert not any(line.startswith("alice") for line in kept)
    assert any("No peer has 'zz'" in line for line in screen(model, (80, 24), "/", "z", "z")[1])


def test_ascii_alone_where_the_locale_has_no_more(model: Model) -> None:
    for keys in ((), ("h",)):
        _, lines = screen(model, (120, 40), *keys, plain=True)
        assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("width", [10, 40, 80, 120, 160, 200, 400])
def test_columns_fit_and_the_widest_screen_has_all(model: Model, width: int) -> None:
    chosen = fitting(width, model.rows())
    assert sum(wide + 1 for _, wide in chosen) - 1 <= max(width, 5)
    titles = [column.title for column, _ in chosen]
    assert titles == [column.title for column in COLUMNS if column.title in titles]
    if width >= 160:
        assert len(titles) == len(COLUMNS)
    if width == 80:
        assert {"Peer", "Stage", "Round", "CPU", "Mem", "Out/s", "RTT", "Bits", "Accur."} <= set(titles)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.44, "0.4"), (9.96, "10"), (1234, "1,234"), (43210, "43.2k"), (1.25e6, "1.2M")],
)
def test_compact(value: float | None, text: str) -> None:
    assert compact(value) == text


def test_units() -> None:
    assert [memory(n) for n in (None, 0, 104 << 20, 5 << 30)] == ["-", "-", "104M", "5.00G"]
    assert [moment(n) for n in (None, 0.0123, 1.5, 240)] == ["-", "12ms", "1.50s", "240s"]


def test_once_has_every_peer(sample_of: Any) -> None:
    model = model_of(sample_of, [f"peer{n:03}" for n in range(100)])
    lines = [line.plain for line in once(model, 120, "12:00:00", 2.0, Marks(True))]
    assert sum(line.startswith("peer") and line[4].isdigit() for line in lines) == 100
    assert max(map(len, lines)) <= 120
