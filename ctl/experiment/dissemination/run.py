"""The experiment: for each size a testbed, on it one run for each way of dissemination; and the files."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from ctl.churn.play import announce
from ctl.client import Client
from ctl.defaults import make_spec
from ctl.experiment.churn.stage import testbed
from ctl.experiment.dissemination.meter import LOOK_SECONDS, Memory, Reading, read
from ctl.fanout import fan_out
from ctl.testbed import Plan, Testbed
from ctl.testbed.plan import MAX_PEERS
from ctl.text import number_of
from ctl.watch import View, watch
from peerd.config import LinkConfig, MembershipConfig, PeerdConfig
from peerd.errors import InvalidInputError, NotFoundError, PeerdError, UnavailableError
from peerd.link import cell_bytes
from peerd.pb import runs_pb2
from peerd.sphinx import Geometry
from peerd.types import DisseminationName, RunSpec

TASK = "synthetic"
WAYS: tuple[DisseminationName, ...] = tuple(reversed(get_args(DisseminationName)))
"""random-k first."""
CALL_SECONDS = 60.0
JOIN_SECONDS = 60.0
GRACE_SECONDS = 30.0
ROUND_TIMEOUT = 240.0
HEARD_SECONDS = 60.0
IDLE_SECONDS = 4.0
"""For so long daemons are left alone, to see what they send then."""
QUIET = PeerdConfig(
    link=LinkConfig(keepalive_seconds=5.0, dead_after_seconds=60.0),
    membership=MembershipConfig(dead_after_seconds=60.0),
)
"""Many daemons on few processors are slow to answer, and none is to be taken for dead."""


@dataclass(frozen=True, slots=True)
class Setting:
    sizes: tuple[int, ...]
    """Peers, each a network of its own."""
    fanout: int
    rounds: int
    hops: int
    parameters: int
    seed: int
    patience: float
    """Seconds for the start of all daemons of a network."""

    def __post_init__(self) -> None:
        """InvalidInputError."""
        least = max(self.fanout, self.hops) + 2
        for peers in self.sizes:
            if not least <= peers <= MAX_PEERS:
                raise InvalidInputError(
                    f"--peers {peers}: between {least} and {MAX_PEERS}, so that {self.hops} mix nodes lie "
                    f"between two peers and a fanout of {self.fanout} is not everybody"
                )


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run."""

    sent: Reading
    fragments: int
    """Of an update."""
    closed_by: dict[str, int]
    """How many rounds, over all peers."""
    accuracy: float
    """After the last round, mean over the peers."""
    exchange_seconds: float
    """Mean of all rounds."""


@dataclass(slots=True)
class Size:
    """Of one network."""

    peers: int
    costs: dict[str, Cost] = field(default_factory=dict)
    idle_bytes_per_second: float = 0.0
    """Of one peer, with no run: pings and gossip."""
    memory: Memory = field(default_factory=Memory)
    seconds: float = 0.0


def split_sizes(text: str) -> tuple[int, ...]:
    """'8,16,24', ascending and each once. InvalidInputError."""
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InvalidInputError(f"--peers {text}: numbers with commas between them, as 8,16,24") from None
    return tuple(sizes)


def make_plan(peers: int, setting: Setting) -> Plan:
    """Without cover: what is sent is of the run."""
    return Plan.make(peers, QUIET, hops=setting.hops, loop_rate_per_second=0.0, drop_rate_per_second=0.0)


def cell_size(plan: Plan) -> int:
    """Bytes of every cell on the links of that network."""
    geometry = Geometry(max_hops=plan.network.max_hops, body_bytes=plan.network.body_bytes)
    return cell_bytes(geometry.packet_bytes)


def make_run(way: DisseminationName, setting: Setting) -> RunSpec:
    return make_spec(
        TASK,
        run_id=secrets.token_hex(16),
        rounds=setting.rounds,
        seed=setting.seed,
        task_options={"parameters": str(setting.parameters)},
        dissemination=way,
        fanout=setting.fanout,
        grace_seconds=GRACE_SECONDS,
        round_timeout_seconds=ROUND_TIMEOUT,
    )


async def run(setting: Setting, view: View) -> list[Size]:
    """Raises the errors of `peerd.errors` when a run does not come to its end; nothing is left behind."""
    return [await _one_size(peers, setting, view) for peers in setting.sizes]


async def _one_size(peers: int, setting: Setting, view: View) -> Size:
    begun, plan, size = time.monotonic(), make_plan(peers, setting), Size(peers)
    folder = Path(tempfile.mkdtemp(prefix="peerd-dissemination-"))
    async with testbed(folder, plan, setting.patience, view, number_of(peers, "peer"), keep=False) as up:
        size.idle_bytes_per_second = await up.while_alive(_idle(up))
        for way in WAYS:
            view.lines([f"{number_of(peers, 'peer')}: {way}"])
            watching = asyncio.create_task(size.memory.watch(up))
            try:
                size.costs[way] = await up.while_alive(_one_run(up, make_run(way, setting), view))
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
    size.seconds = time.monotonic() - begun
    return size


async def _idle(up: Testbed) -> float:
    """Bytes that a peer sends in a second when nothing is to be done."""
    before, begun = await read(up.endpoints), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    after = await read(up.endpoints)
    return after.since(before).bytes_sent / len(up.peers) / (time.monotonic() - begun)


async def _one_run(up: Testbed, spec: RunSpec, view: View) -> Cost:
    before = await read(up.endpoints)
    await announce(up, up.endpoints[0], spec, JOIN_SECONDS)
    await _heard(up, spec.run_id)
    answers = await watch(up.endpoints, CALL_SECONDS, view)
    for failure in answers.bad:
        raise failure.error
    runs = {answer.name: answer.value for answer in answers.good}
    for name, status in runs.items():
        if status.state != "finished":
            raise PeerdError(f"{name}: the run {status.state}: {status.error or 'no reason given'}")
    after = await read(up.endpoints)
    return make_cost(after.since(before), list(runs.values()))


async def _heard(up: Testbed, run_id: str) -> None:
    """Until every peer is in that run: until then it may speak of the one before."""

    async def wait(client: Client) -> None:
        while True:
            with suppress(NotFoundError):
                if (await client.run()).spec.run_id == run_id:
                    return
            await asyncio.sleep(LOOK_SECONDS)

    try:
        async with asyncio.timeout(HEARD_SECONDS):
            answers = await fan_out(up.endpoints, wait, CALL_SECONDS)
    except TimeoutError:
        raise UnavailableError(f"not all have heard of the run within {HEARD_SECONDS:.0f} s") from None
    for failure in answers.bad:
        raise failure.error


def make_cost(sent: Reading, runs: Sequence[runs_pb2.RunStatus]) -> Cost:
    results = [result for status in runs for result in status.results]
    last = [result.accuracy for result in results if result.round == runs[0].spec.rounds]
    closed = sorted(result.closed_by for result in results)
    return Cost(
        sent,
        runs[0].fragments,
        {how: closed.count(how) for how in dict.fromkeys(closed)},
        sum(last) / len(last),
        sum(result.exchange_seconds for result in results) / len(results),
    )
