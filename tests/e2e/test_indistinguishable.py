"""The bytes of every link of a running network: cells of all kinds look alike, by size, position and time.

Every descriptor names a proxy in this process, which passes the bytes on and writes down when which TLS
record went by: what an observer of every wire has. What it must not learn, the kind of each cell, comes from
the daemons' traces: the n-th record of a link is the n-th cell that the trace says was written to it.

Two classifiers learn from one half of the cells to tell a kind by the gaps before and after it, on its link
and among all that its host sends, and by its position; on the other half they have to fail. "Fail" is
judged by a stratified rank test: under the hypothesis that the kinds of the cells of one link in one second
may be permuted at will, the mean and the variance of the sum of the ranks are known exactly, and over
hundreds of strata the sum is normal. So it asks whether a kind shows against its own link and moment; that
the rates themselves do not change while a round is exchanged is asked apart. Pings are periodic and
belong to no message: they are no target and count in no gap (an observer can filter them out).

What passing means: no kind is told from the rest with an advantage that matters. That is less than "no better
than chance", and on a real machine all that can be said. A kind counts as told where all of these hold:

    p < SIGNIFICANCE / questions  it is no accident (Bonferroni); with ten thousand cells this alone finds
                                  effects of one in a hundred, which the scheduler of a machine has by itself
    wins > ADVANTAGE              of a cell of the kind and another one the classifier puts the right one
                                  first in more than 55 % (0.5 is chance): how large it is, not how sure
    in two captures               by the same classifiers, trained anew: what the cells carry shows each time,
                                  a host that was kept from its work for a moment does not

So an effect below 0.55 passes, and one that shows in one capture alone. What was measured is printed, with
95 % intervals, and shown by -rP: the intervals are what the claim rests on. Two settings more are soaks: the
default, without shaping, in which a burst of own messages does show, and `outbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import uvloop
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp, norm, rankdata

from ctl import tomlfile
from ctl.client import Client
from ctl.contexts import Endpoint
from peerd.config import NetworkConfig
from peerd.errors import PeerdError
from peerd.link.cells import cell_bytes
from peerd.membership import Authority
from peerd.pb import runs_pb2
from peerd.sphinx import Geometry

pytestmark = pytest.mark.quiet

NAMES = ("alice", "bob", "carol", "dora", "erin")
MAX_HOPS, BODY_BYTES = 3, 2048
CELL_BYTES = cell_bytes(Geometry(MAX_HOPS, BODY_BYTES).packet_bytes)
RECORD_BYTES = CELL_BYTES + 1 + 16
"""The cell, the content type that TLS 1.3 hides, and the tag of its AEAD."""
APPLICATION_DATA = 23
MOST_HANDSHAKE_RECORDS = 8
PACKETS = ("forwarded", "own", "ack", "loop", "drop")
KINDS = (*PACKETS, "gossip")
SHAPED = {
    "strategy": "exponential",
    "hops": 3,
    "mean_delay_seconds": 0.06,
    "send_rate_per_second": 25.0,
    "loop_rate_per_second": 5.0,
    "drop_rate_per_second": 0.0,
}
UNSHAPED = SHAPED | {
    "strategy": "none",
    "send_rate_per_second": 0.0,
    "loop_rate_per_second": 5.0,
    "drop_rate_per_second": 15.0,
}
OUTBOX = {
    "strategy": "outbox",
    "hops": 3,
    "outbox_size": 16,
    "outbox_interval_seconds": 0.01,
    "outbox_jitter_seconds": 0.005,
    "send_rate_per_second": 0.0,
    "loop_rate_per_second": 5.0,
    "drop_rate_per_second": 5.0,
}
SIGNIFICANCE = 0.001
ADVANTAGE = 0.55
"""Of a cell of the kind over another one, 0.5 being none: what is less is no finding, however sure. So much
has, in an ideal mix of this size (200 cells a second, 60 ms), who counts what came in lately: what is
forwarded leaves rather when much came in. On an overbooked machine bursts show that a little in gaps, too."""
BLOCK_SECONDS = 1.0
MOST_BLOCKS = 100_000
Z95 = 1.959964
BINS = 12
NEIGHBOURS = 40
SHIFTS = 400
CAPTURES = 3
MOST_CPU_OF_OTHERS = 0.1


# -- the wire ---------------------------------------------------------------------------------------


class Records:
    """The TLS records of one direction of a connection: (when, content type, length)."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, int]] = []
        self._head = b""
        self._left = 0

    def feed(self, data: bytes, now: float) -> None:
        at = 0
        while at < len(data):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            part = data[at : at + 5 - len(self._head)]
            self._head += part
            at += len(part)
            if len(self._head) == 5:
                kind, self._left = self._head[0], int.from_bytes(self._head[3:], "big")
                self.seen.append((now, kind, self._left))
                self._head = b""

    def cells(self) -> list[tuple[float, int]]:
        """The application data from the first record of a cell's size on: (when, length). Before it come
        those messages of the handshake that TLS 1.3 sends under the same content type."""
        data = [(at, length) for at, kind, length in self.seen if kind == APPLICATION_DATA]
        first = next((i for i, (_, length) in enumerate(data) if length == RECORD_BYTES), len(data))
        assert first <= MOST_HANDSHAKE_RECORDS
        return data[first:]


class End(asyncio.Protocol):
    """One end of a proxied connection: what it receives is recorded and goes out of the other."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.records.feed(data, time.monotonic())
        if self.other is None or self.other.transport is None:
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def joined(self, other: End) -> None:
        self.other = other
        for data in self._early:
            other.transport.write(data)
        self._early.clear()

    def connection_lost(self, error) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


@dataclass(eq=False)
class Proxy:
    """What a descriptor names instead of its peer."""

    address: str = ""
    upstream: tuple[str, int] | None = None
    """Where the peer listens; until that is known, who dials is hung up on, and tries again."""
    connections: dict[int, tuple[Records, Records]] = field(default_factory=dict)
    """By the dialler's port: what it said, what it was told."""
    joining: set = field(default_factory=set)

    async def start(self) -> asyncio.Server:
        server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    def _accept(self) -> End:
        proxy = self

        class Dialler(End):
            def connection_made(self, transport) -> None:
                super().connection_made(transport)
                task = asyncio.ensure_future(proxy._join(self))
                proxy.joining.add(task)
                task.add_done_callback(proxy.joining.discard)

        return Dialler(Records())

    async def _join(self, dialler: End) -> None:
        if self.upstream is None:
            dialler.transport.close()
            return
        listener = End(Records())
        try:
            await asyncio.get_running_loop().create_connection(lambda: listener, *self.upstream)
        except OSError:
            dialler.transport.close()
            return
        listener.joined(dialler)
        dialler.joined(listener)
        port = dialler.transport.get_extra_info("peername")[1]
        self.connections[port] = (dialler.records, listener.records)


# -- the network ------------------------------------------------------------------------------------


@dataclass
class Capture:
    links: dict[tuple[str, str], Link]
    exchange: tuple[float, float]
    """While the run went on."""
    idle: tuple[float, float]


@dataclass
class Link:
    dialler: Records
    listener: Records
    kinds: list[str] = field(default_factory=list)
    """Of each cell, in the order in which they were written."""
    wrote: list[float] = field(default_factory=list)


async def capture(folder: Path, mixing: dict, rounds: int, quiet: float) -> Capture:
    """Start five peers, let them rest, train, rest; then the wire and the truth."""
    proxies = {name: Proxy() for name in NAMES}
    servers = [await proxy.start() for proxy in proxies.values()]
    authority = Authority.create(
        folder / "network",
        NetworkConfig(
            name="wires", max_hops=MAX_HOPS, body_bytes=BODY_BYTES, epoch_seconds=8.0, epoch_grace_seconds=4.0
        ),
    )
    sockets = Path(tempfile.mkdtemp(prefix="wires-", dir="/tmp"))
    for name, proxy in proxies.items():
        (folder / name).mkdir(mode=0o700)
        authority.enroll_local(name, proxy.address, folder / name)
    authority.write_bundles()
    daemons: dict[str, subprocess.Popen] = {}
    try:
        for name in NAMES:
            settings = {
                "link": {"listen": "127.0.0.1:0"},
                "control": {"unix": str(sockets / f"{name}.sock")},
                "trace": {"file": str(folder / f"{name}.jsonl")},
                "relay": {"replay_capacity": 1_000_000},
                "mixing": mixing,
            }
            tomlfile.write(folder / f"{name}.toml", settings)
            daemons[name] = _spawn(folder, name)
        clients = {n: Client(Endpoint(n, f"unix:{sockets / n}.sock"), 20.0) for n in NAMES}
        async with contextlib.AsyncExitStack() as stack:
            for client in clients.values():
                await stack.enter_async_context(client)
            ids = await _come_up(clients, proxies, daemons)
            await asyncio.sleep(2.0)
            began = time.monotonic()
            await asyncio.sleep(quiet)
            running = time.monotonic()
            await _train(clients, rounds)
            ended = time.monotonic()
            await asyncio.sleep(1.0)
            statuses = [await client.status() for client in clients.values()]
            assert [status.traffic.gave_up for status in statuses] == [0] * len(NAMES)
        diallers = {
            connection.laddr.port: name
            for name, daemon in daemons.items()
            for connection in psutil.Process(daemon.pid).net_connections("tcp")
        }
    finally:
        for daemon in daemons.values():
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons.values():
            await asyncio.to_thread(daemon.wait, 20)
        for server in servers:
            server.close()
        shutil.rmtree(sockets, ignore_errors=True)
    links = {
        (diallers[port], name): Link(*records)
        for name, proxy in proxies.items()
        for port, records in proxy.connections.items()
        if port in diallers
    }
    _tell_kinds(links, folder, ids)
    return Capture(links, exchange=(running, ended), idle=(began, running))


def _spawn(folder: Path, name: str) -> subprocess.Popen[bytes]:
    bundle = folder / "network" / "bundles" / f"{name}.bundle"
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "peerd", "run", "--state-dir", folder / name,
             "--config", folder / f"{name}.toml", "--bundle", bundle],
            stdout=log, stderr=log,
        )  # fmt: skip


async def _come_up(clients, proxies, daemons) -> dict[str, str]:
    """Names by peer id, when everybody sees everybody."""
    ids = {}
    async with asyncio.timeout(60.0):
        for name, client in clients.items():
            while True:
                assert daemons[name].poll() is None, name
                with contextlib.suppress(PeerdError):
                    status = await client.status()
                    break
                await asyncio.sleep(0.1)
            ids[status.peer_id] = name
            host, _, port = status.link_address.rpartition(":")
            proxies[name].upstream = (host, int(port))
        for client in clients.values():
            while (await client.status()).peers_alive < len(NAMES) - 1:
                await asyncio.sleep(0.1)
    return ids


async def _train(clients, rounds: int) -> None:
    spec = runs_pb2.RunSpec(
        run_id="5" * 32, task="digits-cnn", rounds=rounds, partition="iid", alpha=0.5, batch_size=32,
        local_epochs=1, learning_rate=0.001, quorum=0.8, grace_seconds=10.0, round_timeout_seconds=60.0,
    )  # fmt: skip
    for client in clients.values():
        await client.start_run(spec)
    async with asyncio.timeout(100.0):
        for client in clients.values():
            while (run := await client.run()).state != "finished":
                assert run.state in ("starting", "running"), run.error
                await asyncio.sleep(0.3)


def _tell_kinds(links: dict[tuple[str, str], Link], folder: Path, ids: dict[str, str]) -> None:
    for name in NAMES:
        events = [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
        kind_of = {event["packet"]: event["kind"] for event in events if event["event"] == "left"}
        for event in events:
            link = links.get((name, ids.get(event.get("to"), "")))
            if event["event"] == "wrote" and event["cell"] != "pong" and link is not None:
                link.kinds.append(kind_of[event["packet"]] if event["packet"] else event["cell"])
                link.wrote.append(event["at"])


# -- what an observer can do with it ----------------------------------------------------------------


@dataclass
class Cells:
    """All cells but pings: what is to be told (`kind`), from what (`features`), and what may be permuted."""

    kind: np.ndarray
    features: np.ndarray
    stratum: np.ndarray
    host: np.ndarray
    block: np.ndarray
    at: np.ndarray

    def among(self, *kinds: str) -> Cells:
        """These alone; what the gaps are does not change."""
        chosen = np.isin(self.kind, kinds)
        parts = (self.kind, self.features, self.stratum, self.host, self.block, self.at)
        return Cells(*(part[chosen] for part in parts))

    def only(self, *kinds: str) -> Cells:
        """Few kinds, of which there are few on a link in a second: permuted within a host's second."""
        few = self.among(*kinds)
        few.stratum = few.host * MOST_BLOCKS + few.block
        return few


def cells_of(links: list[tuple[str, np.ndarray, np.ndarray]]) -> Cells:
    """`links`: the host that sends, times and kinds of each link's cells, in order."""
    hosts = defaultdict(list)
    for host, times, _ in links:
        hosts[host].append(times)
    all_of = {host: np.sort(np.concatenate(parts)) for host, parts in hosts.items()}
    start = min(times[0] for _, times, _ in links)
    names = sorted(hosts)
    kinds, features, strata, senders, blocks, moments = [], [], [], [], [], []
    for number, (host, times, kind) in enumerate(links):
        gaps = np.diff(times)
        everything = all_of[host]
        place = np.searchsorted(everything, times[1:-1])
        last = np.searchsorted(everything, times[1:-1], side="right")
        before = times[1:-1] - everything[np.maximum(place - 1, 0)]
        after = everything[np.minimum(last, len(everything) - 1)] - times[1:-1]
        block = ((times[1:-1] - start) // BLOCK_SECONDS).astype(int)
        position = np.arange(1, len(times) - 1)
        features.append(
            np.column_stack(
                [np.log(np.maximum(gap, 1e-5)) for gap in (gaps[:-1], gaps[1:], before, after)]
                + [last - place]
                + [position % modulo for modulo in (2, 3, 5, 7, 8)]
            )
        )
        kinds.append(kind[1:-1])
        blocks.append(block)
        strata.append(number * MOST_BLOCKS + block)
        senders.append(np.full(len(block), names.index(host)))
        moments.append(times[1:-1])
    return Cells(*map(np.concatenate, (kinds, features, strata, senders, blocks, moments)))


TIMES = 4
"""The first so many features are the logarithms of gaps."""


def naive_bayes(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Log-likelihood ratios from histograms of quantiles, summed over the features."""
    score = np.zeros(len(test))
    for column in range(train.shape[1]):
        edges = np.unique(np.quantile(train[:, column], np.linspace(0, 1, BINS + 1)[1:-1]))
        places = np.searchsorted(edges, train[:, column], side="right")
        yes = np.bincount(places[labels], minlength=len(edges) + 1) + 1.0
        no = np.bincount(places[~labels], minlength=len(edges) + 1) + 1.0
        ratio = np.log(yes / yes.sum()) - np.log(no / no.sum())
        score += ratio[np.searchsorted(edges, test[:, column], side="right")]
    return score


def nearest(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Share of the kind among the nearest by all four gaps together."""
    scale = train[:, :TIMES].std(axis=0) + 1e-9
    _, found = cKDTree(train[:, :TIMES] / scale).query(test[:, :TIMES] / scale, k=NEIGHBOURS)
    return labels[found].mean(axis=1)


CLASSIFIERS = {"naive Bayes": naive_bayes, "k-NN": nearest}


class Outcome(NamedTuple):
    wins: float
    """Probability that a cell of the kind has the higher score than another one."""
    p: float
    """One-sided, of so many wins or more, under the hypothesis."""
    half: float
    """Of the 95 % interval of `wins`: by its deviation under the hypothesis."""


NO_PAIRS = Outcome(0.5, 1.0, 0.5)


def rank_test(score: np.ndarray, labels: np.ndarray, strata: np.ndarray) -> Outcome:
    """Cells of one stratum are compared; under the hypothesis labels may be permuted within strata."""
    _, stratum = np.unique(strata, return_inverse=True)
    total = expected = variance = pairs = wins = 0.0
    for chosen in np.split(np.argsort(stratum, kind="stable"), np.cumsum(np.bincount(stratum))[:-1]):
        size, positive = len(chosen), int(labels[chosen].sum())
        if not 0 < positive < size:
            continue
        ranks = rankdata(score[chosen])
        got = ranks[labels[chosen]].sum()
        total += got
        expected += positive * ranks.mean()
        variance += positive * (size - positive) / (size - 1) * ranks.var()
        wins += got - positive * (positive + 1) / 2
        pairs += positive * (size - positive)
    if variance <= 0.0:
        return NO_PAIRS
    deviation = np.sqrt(variance)
    return Outcome(wins / pairs, float(norm.sf((total - expected) / deviation)), Z95 * deviation / pairs)


def shift_test(score: np.ndarray, labels: np.ndarray, host: np.ndarray, at: np.ndarray) -> Outcome:
    """The same question over the whole capture, where the rank test asks within a second: a burst that fills
    whole seconds shows here. Under the hypothesis that what is seen does not depend on what is sent, the
    labels of each host may be shifted in time, as a ring, against the scores: that keeps how they cluster."""
    ranks = rankdata(score)
    rings = [np.flatnonzero(host == one)[np.argsort(at[host == one])] for one in np.unique(host)]
    positive = int(labels.sum())
    pairs = positive * (len(labels) - positive)
    if not pairs:
        return NO_PAIRS
    rng = np.random.default_rng(1)

    def shifted() -> float:
        return sum(ranks[ring] @ np.roll(labels[ring], rng.integers(len(ring))) for ring in rings)

    drawn = np.array([shifted() for _ in range(SHIFTS)])
    got = float(ranks[labels].sum())
    wins = (got - positive * (positive + 1) / 2) / pairs
    deviation = max(drawn.std(), 1e-9)
    return Outcome(wins, float(norm.sf((got - drawn.mean()) / deviation)), Z95 * deviation / pairs)


@dataclass
class Verdict:
    kind: str
    classifier: str
    cells: int
    within: Outcome
    """On its own link, in its own second."""
    overall: Outcome
    """In the whole capture."""
    accuracy: float
    baseline: float

    def found_overall(self, limit: float) -> bool:
        return self.overall.p < limit and self.overall.wins > ADVANTAGE

    def found(self, limit: float) -> bool:
        return self.within.p < limit and self.within.wins > ADVANTAGE


def judge(cells: Cells, kinds=KINDS) -> list[Verdict]:
    """Each kind against the rest, by each classifier; trained on every other second."""
    odd = cells.block % 2 == 1
    verdicts = []
    for kind in kinds:
        labels = cells.kind == kind
        for name, classify in CLASSIFIERS.items():
            score = classify(cells.features[~odd], labels[~odd], cells.features[odd])
            truth = labels[odd]
            within = rank_test(score, truth, cells.stratum[odd])
            guess = score > np.sort(score)[-max(int(truth.sum()), 1)]
            accuracy, baseline = float((guess == truth).mean()), float(max(truth.mean(), 1 - truth.mean()))
            overall = shift_test(score, truth, cells.host[odd], cells.at[odd])
            verdicts.append(Verdict(kind, name, int(labels.sum()), within, overall, accuracy, baseline))
    return verdicts


def shown(test: Outcome) -> str:
    low, high = test.wins - test.half, test.wins + test.half
    return f"{test.wins:.4f} ({low:.4f}-{high:.4f})  p {test.p:.2e}"


def told(title: str, verdicts: list[Verdict], cells: Cells) -> None:
    """Into pytest's captured output: shown by -rP, and where an assertion fails."""
    print(f"{title}: {len(cells.kind)} cells")
    for v in verdicts:
        labels = cells.kind == v.kind
        gaps = cells.features[:, 0]
        ks = ks_2samp(gaps[labels], gaps[~labels])
        print(
            f"  {v.kind:9} {v.cells:6} cells  {v.classifier:11} wins {shown(v.within)}  "
            f"overall {shown(v.overall)}  "
            f"accuracy {v.accuracy:.3f}, majority {v.baseline:.3f}  KS {ks.statistic:.4f} (p {ks.pvalue:.1e})"
        )


def observed(captured: Capture, clock: str) -> Cells:
    """By the observer's clock, or by the daemon's own ("wrote"), which no observer can better."""
    links = []
    for (host, _), link in sorted(captured.links.items()):
        wire = [at for at, _ in link.dialler.cells()]
        count = min(len(wire), len(link.kinds))
        times = np.array((wire if clock == "wire" else link.wrote)[:count])
        kind = np.array(link.kinds[:count])
        inside = (times >= captured.idle[0]) & (times <= captured.exchange[1]) & (kind != "ping")
        links.append((host, times[inside], kind[inside]))
    return cells_of(links)


def cpu_of_others(capture_it: Callable[[], Capture]) -> tuple[Capture, float]:
    """A capture, and the share of the machine that programs which are not ours took meanwhile."""

    def ours() -> float:
        used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    def all_of() -> float:
        times = psutil.cpu_times()
        return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice

    own, busy, began = ours(), all_of(), time.monotonic()
    captured = capture_it()
    own, busy, took = ours() - own, all_of() - busy, time.monotonic() - began
    return captured, max(busy - own, 0.0) / (took * (psutil.cpu_count() or 1))


def capture_alone(tmp_path_factory: pytest.TempPathFactory, mixing: dict[str, Any]) -> Capture:
    """On a machine that is ours: hosts that are kept from their work send late and in clusters, which tells
    when they train. That is so (see the threat model), and not what is judged here."""
    for _ in range(CAPTURES):
        folder = tmp_path_factory.mktemp("alone")
        taken, others = cpu_of_others(lambda f=folder: uvloop.run(capture(f, mixing, rounds=3, quiet=8.0)))
        print(f"other programs took {others:.0%} of the machine")
        if others < MOST_CPU_OF_OTHERS:
            return taken
    pytest.skip(f"other programs took {others:.0%} of this machine in the last of {CAPTURES} captures")


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return capture_alone(tmp_path_factory, SHAPED)


@pytest.fixture(scope="module")
def once_more(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Capture]:
    """Another capture, taken when it is asked for: a kind that shows, shows again; hosts that were kept from
    their work for a moment, by what this machine does not even tell of, are not so twice in the same way."""
    return functools.cache(lambda: capture_alone(tmp_path_factory, SHAPED))


def replicated(
    found: Callable[[Capture], set[str]], first: Capture, again: Callable[[], Capture]
) -> set[str]:
    """What is found in two independent captures."""
    seen = found(first)
    return seen & found(again()) if seen else seen


@pytest.fixture(scope="module")
def unshaped(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return uvloop.run(capture(tmp_path_factory.mktemp("unshaped"), UNSHAPED, rounds=6, quiet=2.0))


def check_sizes(captured: Capture) -> None:
    assert len(captured.links) == len(NAMES) * (len(NAMES) - 1)
    sizes = Counter()
    for link in captured.links.values():
        for records in (link.dialler, link.listener):
            assert len(records.cells()) > 5
            sizes.update(length for _, length in records.cells())
    assert set(sizes) == {RECORD_BYTES}, sizes
    print(sizes)


@pytest.mark.timeout(300)
def test_every_record_of_every_link_has_one_size(shaped: Capture) -> None:
    check_sizes(shaped)


def test_the_truth_is_complete(shaped: Capture) -> None:
    """Each record of a dialler is a cell that the trace names, in its order: else nothing below holds."""
    kinds = Counter()
    for link in shaped.links.values():
        cells = link.dialler.cells()
        assert 0 <= len(link.kinds) - len(cells) <= 20, "cells on their way when the daemons ended"
        lag = np.array([at for at, _ in cells]) - np.array(link.wrote[: len(cells)])
        # The trace's clock is read when the write is over: the record may be on the wire by then. One cell
        # too many or too few would be a lag of some 20 ms on every cell from there on.
        assert abs(np.median(lag)) < 0.005
        assert (abs(lag) < 0.02).mean() > 0.7
        kinds.update(link.kinds)
    print(kinds)
    for kind in KINDS:
        assert kinds[kind] >= (100 if kind == "gossip" else 500), kinds


def kinds_that_show(captured: Capture, clock: str) -> set[str]:
    cells = observed(captured, clock)
    packets = cells.among(*PACKETS)
    verdicts = judge(packets, PACKETS)
    told(f"packets, shaped, by the clock of {clock}", verdicts, packets)
    slots = cells.only("own", "drop")  # what a sending slot is filled with: the question that matters most
    filled = judge(slots, ("own",))
    told("own messages among the slots", filled, slots)
    limit = SIGNIFICANCE / (4 * len(verdicts + filled))  # Bonferroni: verdicts x clocks x questions
    shown = {verdict.kind for verdict in verdicts if verdict.found(limit)}
    in_slots = [verdict for verdict in filled if verdict.found(limit) or verdict.found_overall(limit)]
    return shown | {f"{verdict.kind} in its slot" for verdict in in_slots}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("clock", ["wire", "wrote"])
def test_no_classifier_tells_a_kind(shaped: Capture, once_more: Callable[[], Capture], clock: str) -> None:
    assert not replicated(lambda captured: kinds_that_show(captured, clock), shaped, once_more)


def gossip_that_shows(captured: Capture, clock: str) -> set[str]:
    cells = observed(captured, clock)
    verdicts = judge(cells, ("gossip",))
    told(f"gossip among all, by the clock of {clock}", verdicts, cells)
    return {verdict.kind for verdict in verdicts if verdict.found(SIGNIFICANCE / (2 * len(verdicts)))}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("clock", ["wire", "wrote"])
def test_no_classifier_tells_gossip(shaped: Capture, once_more: Callable[[], Capture], clock: str) -> None:
    assert not replicated(lambda captured: gossip_that_shows(captured, clock), shaped, once_more)


def test_the_rate_of_a_host_does_not_tell_of_a_round(shaped: Capture) -> None:
    """Cells a second of every host: at rest, and while a model goes out and comes in."""
    own = 0
    for name in NAMES:
        rates = []
        for begin, end in (shaped.idle, shaped.exchange):
            kinds = [
                kind
                for (host, _), link in shaped.links.items()
                for kind, at in zip(link.kinds, link.wrote, strict=True)
                if host == name and begin <= at < end and kind != "ping"
            ]
            rates.append(len(kinds) / (end - begin))
            own += kinds.count("own")
        print(f"{name}: {rates[0]:.1f} cells a second at rest, {rates[1]:.1f} in the run")
        assert rates[1] == pytest.approx(rates[0], rel=0.2)
    assert own > 500


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_without_shaping_and_mixing_the_same_classifiers_tell(unshaped: Capture) -> None:
    cells = observed(unshaped, "wire")
    verdicts = judge(cells, ("forwarded", "own", "ack"))
    told("no mixing, no shaping", verdicts, cells)
    limit = SIGNIFICANCE / (2 * len(verdicts))
    found = {v.kind for v in verdicts if v.found(limit)}
    assert {"forwarded", "own"} <= found
    slots = cells.only("own", "drop")
    filled = judge(slots, ("own",))
    told("own messages among cover", filled, slots)
    # The rank test, within a second, has little to go by: a burst fills whole seconds. Over all it shows.
    assert any(v.found_overall(limit) for v in filled)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_by_default_a_burst_of_own_messages_shows(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The default is for networks whose wires nobody watches (threat model): sizes say nothing, times do."""
    captured = capture_alone(tmp_path_factory, {})
    check_sizes(captured)
    packets = observed(captured, "wire").among(*PACKETS)
    verdicts = judge(packets, PACKETS)
    told("packets by default, without shaping", verdicts, packets)
    own = [verdict for verdict in verdicts if verdict.kind == "own"]
    limit = SIGNIFICANCE / (2 * len(verdicts))
    assert any(v.found(limit) or v.found_overall(limit) for v in own)


def kinds_that_show_in_an_outbox(captured: Capture) -> set[str]:
    packets = observed(captured, "wire").among(*PACKETS, "dummy")
    kinds = (*PACKETS, "dummy")
    verdicts = judge(packets, kinds)
    told("packets of an outbox", verdicts, packets)
    limit = SIGNIFICANCE / (2 * len(verdicts))
    return {v.kind for v in verdicts if v.found(limit) or v.found_overall(limit)}


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_an_outbox_sends_every_kind_alike(tmp_path_factory: pytest.TempPathFactory) -> None:
    first = capture_alone(tmp_path_factory, OUTBOX)
    check_sizes(first)
    again = functools.partial(capture_alone, tmp_path_factory, OUTBOX)
    assert not replicated(kinds_that_show_in_an_outbox, first, again)


def simulated(rng: np.random.Generator, burst: int) -> Cells:
    """Poisson links on which own cells are as any others, or come `burst` at a time."""
    links = []
    for _ in range(10):
        other = np.cumsum(rng.exponential(0.03, 1000))
        seldom = np.repeat(np.cumsum(rng.exponential(0.3 * burst, 100 // burst)), burst)
        own = seldom + np.tile(np.arange(burst) * 0.001, len(seldom) // burst)
        own = own[own < other[-1]]
        times = np.concatenate([other, own])
        order = np.argsort(times, kind="stable")
        kinds = np.array(["forwarded"] * len(other) + ["own"] * len(own))[order]
        links.append((f"host{len(links)}", times[order], kinds))
    return cells_of(links)


def test_what_is_found_once_is_looked_for_again() -> None:
    asked: list[str] = []

    def again() -> str:
        asked.append("again")
        return "second"

    found = {"first": {"own", "drop"}, "second": {"drop", "loop"}, "clean": set()}
    assert replicated(found.__getitem__, "first", again) == {"drop"}  # type: ignore[arg-type]
    assert replicated(found.__getitem__, "clean", again) == set()  # type: ignore[arg-type]
    assert asked == ["again"]


def test_the_judge_finds_bursts_and_only_bursts() -> None:
    rng = np.random.default_rng(7)
    for burst in (2, 4):
        verdicts = judge(simulated(rng, burst), ("own",))
        assert any(v.found(1e-9) for v in verdicts), verdicts
    fair = [v.within.p for _ in range(40) for v in judge(simulated(rng, 1), ("own",))]
    assert min(fair) > SIGNIFICANCE / len(fair)
    assert 0.25 < np.mean(np.array(fair) < 0.5) < 0.75, "p-values are uniform under the hypothesis"


def test_the_rank_test_is_that_of_permutations() -> None:
    rng = np.random.default_rng(3)
    strata = rng.integers(0, 30, 600)
    labels = rng.random(600) < 0.2
    score = rng.random(600) + 0.1 * labels + strata
    p = rank_test(score, labels, strata).p
    groups = [np.flatnonzero(strata == s) for s in range(30)]
    ranks = np.zeros(600)
    for group in groups:
        ranks[group] = rankdata(score[group])

    def shuffled() -> float:
        return sum(rng.permutation(ranks[group])[: labels[group].sum()].sum() for group in groups)

    drawn = np.array([shuffled() for _ in range(3000)])
    assert p == pytest.approx((drawn >= ranks[labels].sum()).mean(), abs=0.03)
