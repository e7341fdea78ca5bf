"""The same experiment with real daemons on this machine, whose link traces are switched on for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.defaults import make_spec
from ctl.demo.play import Script, play
from ctl.experiment.kernels import Timing
from ctl.experiment.observation import observe
from ctl.experiment.workload import Watched
from ctl.fanout import fan_out
from ctl.testbed import Plan, Testbed
from ctl.watch import View
from peerd.config import MixingConfig, PeerdConfig, TraceConfig
from peerd.errors import NotFoundError, PeerdError
from peerd.pb import mixing_pb2
from peerd.relay.trace import Came, Left, Opened, Record
from peerd.types import PacketKind, PeerId

TRACES = "trace"
CALL_SECONDS = 30.0
UNDRAWN = "0" * 32
MAX_LINE_BYTES = 1 << 20
TIMING = Timing(processing=(3e-4, 3e-3, 3e-2), late=0.3)
"""A busy process unwraps a packet milliseconds after it came; six on few processors take longer."""


async def watch_daemons(
    mixing: MixingConfig, peers: int, rounds: int, seed: int, folder: Path, patience: float, view: View
) -> Watched:
    """A short run of digits-cnn in `folder`, which is made and removed again."""
    base = PeerdConfig(mixing=mixing, trace=TraceConfig(file=TRACES))
    plan = Plan.make(peers, base)
    spec = make_spec("digits-cnn", run_id=UNDRAWN, rounds=rounds, seed=seed)
    testbed: Testbed | None = None
    try:
        await play(Script(plan, spec, folder, True, patience), view)
        testbed = Testbed.load(folder)
        meter = mean_bits(await read_meters(testbed.endpoints))
        testbed.down()  # closes the traces
        records = list(read_traces(sorted((folder / TRACES).glob("*.jsonl"))))
    finally:
        if testbed is not None:
            testbed.down()
        shutil.rmtree(folder, ignore_errors=True)
    ids = sorted({one.peer for one in records})
    seen, truth = observe(records, ids)
    return Watched(seen, truth, meter, len(truth.challenges()), seen.ends_at)


async def read_meters(endpoints: Sequence[Endpoint]) -> list[mixing_pb2.MixingMeasured]:
    """What each daemon says of its own mixing, while it lives; the first one's error where one does not."""
    answers = await fan_out(endpoints, Client.mixing_measured, CALL_SECONDS)
    for failure in answers.bad:
        raise failure.error
    return [answer.value for answer in answers.good]


def mean_bits(meters: Sequence[mixing_pb2.MixingMeasured]) -> float:
    """Of a departure of any of them, as `World.meter_bits`; 0 without any."""
    mixed = sum(one.mixed for one in meters)
    return sum(one.mean_entropy_bits * one.mixed for one in meters) / mixed if mixed else 0.0


def read_traces(files: Sequence[Path]) -> Iterator[Record]:
    """Of all peers. NotFoundError without any; a torn last line is left out, any other is a PeerdError."""
    if not files:
        raise NotFoundError("the daemons wrote no traces")
    for file in files:
        with file.open("rb") as lines:
            yield from _records(lines, file)


def _records(lines: BinaryIO, file: Path) -> Iterator[Record]:
    number = 0
    while line := lines.readline(MAX_LINE_BYTES):
        number += 1
        if line == b"\n":
            continue
        try:
            record = _record(msgspec.json.decode(line))
        except (msgspec.DecodeError, KeyError, ValueError, TypeError):
            if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                return  # torn: the daemon ended while it wrote
            raise PeerdError(f"{file}: line {number} is no trace record") from None
        if record is not None:
            yield record


def _record(line: dict[str, Any]) -> Record | None:
    """None for events of another kind."""
    event = line["event"]
    if event not in ("left", "came", "opened"):
        return None
    at, peer, packet = float(line["at"]), _peer(line["peer"]), bytes.fromhex(line["packet"])
    if event == "left":
        return Left(at, peer, _peer(line["to"]), packet, PacketKind(line["kind"]))
    if event == "came":
        return Came(at, peer, packet)
    return Opened(at, peer, packet, line["fate"], bytes.fromhex(line.get("next_packet", "")))


def _peer(text: str) -> PeerId:
    return PeerId(bytes.fromhex(text))
