"""The trace on disk: one JSON object a line, for its owner alone, and only where it was asked for."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from peerd.config import TraceConfig
from peerd.errors import InvalidInputError
from peerd.link import CellKind
from peerd.relay.trace import Came, Left, Opened, packet_id
from peerd.tracing import TraceFile
from peerd.types import PacketKind, PeerId

ME, OTHER = PeerId(b"\x01" * 16), PeerId(b"\x02" * 16)


class Log:
    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.warnings.append((event, fields))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_off_is_nothing_at_all() -> None:
    log = Log()
    assert TraceFile.open(TraceConfig(), ME, log) is None
    assert log.warnings == []


def test_what_is_told_is_a_json_object_a_line(tmp_path: Path) -> None:
    log, path = Log(), tmp_path / "a" / "b" / "trace.jsonl"
    trace = TraceFile.open(TraceConfig(file=str(path)), ME, log)
    assert trace is not None
    first, second = packet_id(b"first"), packet_id(b"second")
    trace(Came(1.5, ME, first))
    trace(Opened(1.75, ME, first, "forward", second))
    trace(Left(2.0, ME, OTHER, second, PacketKind.FORWARDED))
    trace(Opened(2.5, ME, second, "deliver"))
    trace.wrote(OTHER, CellKind.PACKET, b"second")
    trace.wrote(OTHER, CellKind.GOSSIP, b"a descriptor")
    trace.close()
    me, other = ME.hex(), OTHER.hex()
    *told, packet, gossip = lines(path)
    assert told == [
        {"peer": me, "event": "came", "at": 1.5, "packet": first.hex()},
        {"peer": me, "event": "opened", "at": 1.75, "packet": first.hex(), "fate": "forward",
         "next_packet": second.hex()},
        {"peer": me, "event": "left", "at": 2.0, "to": other, "packet": second.hex(), "kind": "forwarded"},
        {"peer": me, "event": "opened", "at": 2.5, "packet": second.hex(), "fate": "deliver",
         "next_packet": ""},
    ]  # fmt: skip
    assert (packet["event"], packet["to"], packet["cell"]) == ("wrote", other, "packet")
    assert packet["packet"] == second.hex(), "the same name as in `left`"
    assert (gossip["cell"], gossip["packet"]) == ("gossip", "")
    assert packet["at"] <= gossip["at"]


def test_the_operator_is_warned_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    log, path = Log(), tmp_path / "sub" / "trace.jsonl"
    mask = os.umask(0)
    try:
        trace = TraceFile.open(TraceConfig(file=str(path)), ME, log)
    finally:
        os.umask(mask)
    assert trace is not None
    trace.close()
    ((event, fields),) = log.warnings
    assert "NO ANONYMITY" in event
    assert fields == {"file": str(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for number in (1.0, 2.0):
        trace = TraceFile.open(TraceConfig(file=str(path)), ME, Log())
        assert trace is not None
        trace(Came(number, ME, b"x"))
        trace.close()
    assert [line["at"] for line in lines(path)] == [1.0, 2.0]


@pytest.mark.parametrize("where", ["folder", "file/trace.jsonl"])
def test_a_path_that_cannot_be_written_is_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    log = Log()
    with pytest.raises(InvalidInputError) as raised:
        TraceFile.open(TraceConfig(file=str(tmp_path / where)), ME, log)
    line = str(raised.value)
    assert line.startswith(f"[trace] file: {tmp_path / where}: ")
    assert "\n" not in line
    assert log.warnings == []
