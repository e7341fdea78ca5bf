"""Records of a run become tables, and only the right half of them reaches an adversary."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctl.experiment.observation import KINDS, observe
from ctl.experiment.testbed import read_traces
from peerd.errors import NotFoundError, PeerdError
from peerd.relay.trace import Came, Left, Opened, Record
from peerd.types import PacketKind, PeerId

A, B, C = (PeerId(bytes([n]) * 16) for n in range(3))


def records() -> list[Record]:
    """A sends to C by B; C answers, and that cell is lost."""
    return [
        Left(10.0, A, B, b"one", PacketKind.OWN),
        Came(10.1, B, b"one"),
        Opened(10.1, B, b"one", "forward", b"two"),
        Left(10.5, B, C, b"two", PacketKind.FORWARDED),
        Came(10.6, C, b"two"),
        Opened(10.6, C, b"two", "deliver"),
        Left(10.7, C, B, b"ack", PacketKind.ACK),
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_tables(turned: bool) -> None:
    seen, truth = observe(reversed(records()) if turned else records(), [A, B, C])
    assert seen.sent_at == pytest.approx([0.0, 0.5, 0.7])
    assert seen.arrived_at == pytest.approx([0.1, 0.6, np.inf])
    assert (seen.src.tolist(), seen.dst.tolist()) == ([0, 1, 2], [1, 2, 1])
    assert truth.parent.tolist() == [-1, 0, -1]
    assert truth.child.tolist() == [1, -1, -1]
    assert truth.sender.tolist() == [0, 0, 2]
    assert [KINDS[kind] for kind in truth.kind] == ["own", "own", "ack"]
    assert truth.challenges().tolist() == [1]
    assert seen.entering(1).tolist() == [0]
    assert seen.leaving(1).tolist() == [1]
    assert seen.ends_at == pytest.approx(0.7)


def test_what_began_before_the_trace_is_no_challenge() -> None:
    seen, truth = observe(records()[3:], [A, B, C])
    assert truth.sender.tolist() == [-1, 2]
    assert truth.challenges().tolist() == []
    assert seen.cells == 2


def test_an_acknowledgement_that_the_trace_names() -> None:
    told = [*records()[:5], Opened(10.6, C, b"two", "deliver", b"ack"), *records()[6:]]
    assert observe(told, [A, B, C])[1].answer.tolist() == [-1, 2, -1]
    assert observe(records(), [A, B, C])[1].answer.tolist() == [-1, -1, -1]


def test_nothing_at_all() -> None:
    seen, truth = observe([], [A, B])
    assert (seen.cells, seen.ends_at, truth.challenges().tolist()) == (0, 0.0, [])


def lines() -> str:
    rows: list[dict[str, Any]] = [
        {"peer": A.hex(), "event": "left", "at": 1.5, "to": B.hex(), "packet": "aa", "kind": "own"},
        {"peer": A.hex(), "event": "wrote", "at": 1.6, "to": B.hex(), "cell": "packet", "packet": "aa"},
        {"peer": B.hex(), "event": "came", "at": 2.0, "packet": "aa"},
        {
            "peer": B.hex(),
            "event": "opened",
            "at": 2.1,
            "packet": "aa",
            "fate": "forward",
            "next_packet": "bb",
        },
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_traces_of_daemons(tmp_path: Path) -> None:
    file = tmp_path / "alice.jsonl"
    file.write_text(lines() + '{"peer":"00', encoding="utf-8")  # torn
    assert list(read_traces([file])) == [
        Left(1.5, A, B, b"\xaa", PacketKind.OWN),
        Came(2.0, B, b"\xaa"),
        Opened(2.1, B, b"\xaa", "forward", b"\xbb"),
    ]


def test_traces_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "alice.jsonl"
    file.write_text('{"event":\n' + lines(), encoding="utf-8")
    with pytest.raises(PeerdError, match="line 1 is no trace record"):
        list(read_traces([file]))
    with pytest.raises(NotFoundError, match="no traces"):
        list(read_traces([]))


def test_the_generator_of_these_tests_is_sound(make_network: Callable[..., Any]) -> None:
    seen, truth = make_network(6, 2, 3.0, 5.0, lambda at: at + 0.01, seed=1)
    made = truth.parent >= 0
    assert (seen.dst[truth.parent[made]] == seen.src[made]).all()
    assert (np.diff(seen.sent_at) >= 0.0).all()
    assert (truth.sender[truth.delivered] != seen.dst[truth.delivered]).all()
