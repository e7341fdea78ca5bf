"""Mix keys rotate every few seconds while real daemons train: nothing is lost, old keys are gone, and what a
relay has seen once it refuses for as long as it could open it, whatever happens to its process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctl.client import Client
from peerd.clock import monotonic, wall
from peerd.config import LinkConfig
from peerd.errors import ConflictError
from peerd.link import LinkTable, gossip_bytes
from peerd.membership import (
    DialPolicy,
    Kind,
    PeerState,
    client_ssl_context,
    decode_descriptor,
    messages,
    open_record,
    server_ssl_context,
)
from peerd.sphinx import Deliver, Epochs, Geometry, Hop, MixKey, unwrap, wrap

# -- a run through many epochs ---------------------------------------------------------------------


def mix_keys(state_dir: Path) -> dict[int, bytes]:
    """Private mix keys on disk, in base64, by epoch."""
    keys = json.loads((state_dir / "mixkeys.json").read_bytes())["keys"]
    return {key["epoch"]: key["private"].encode() for key in keys}


def everything_in(folder: Path) -> bytes:
    """Every byte of every file that is there, and stays there, at this moment."""
    parts = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                parts.append(path.read_bytes())
        except FileNotFoundError:  # rotated away meanwhile
            continue
    return b"\0".join(parts)


@contextlib.contextmanager
def telling(testbed) -> Iterator[None]:
    """When the block fails, show what the daemons said last: their folder goes with the test."""
    try:
        yield
    except BaseException:
        for path in sorted((testbed.folder / "logs").glob("*.log")):
            print(f"-- {path.name}", *path.read_text(errors="replace").splitlines()[-25:], sep="\n")
        raise


def train_through(testbed, until, seconds: float) -> None:
    testbed.up(6, "--epoch", "5s")
    names = list(testbed.pids())
    states = {name: testbed.folder / "peers" / name for name in names}
    first = {name: testbed.ask("--context", name, "status")["epoch"] for name in names}
    old = {name: mix_keys(states[name]) for name in names}
    end = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < end:
        testbed.ask("--all", "run", "start", "--rounds", "8", "--grace", "5s", "--epochs", "10")
        runs += 1

        def finished():
            shown = [testbed.ask("--context", name, "run", "show") for name in names]
            assert all(run["state"] in ("starting", "running", "finished") for run in shown), shown
            return shown if all(run["state"] == "finished" for run in shown) else None

        for run in until(finished, seconds=120):
            assert [result["round"] for result in run["results"]] == list(range(1, 9))
            assert {result["closed_by"] for result in run["results"]} == {"complete"}
            assert {result["cohort"] for result in run["results"]} == {6}
    least = int(seconds // 5)
    now = {}
    for name in names:
        status = testbed.ask("--context", name, "status")
        traffic = status["traffic"]
        assert status["epoch"] >= first[name] + least
        assert status["peers_alive"] == 5
        assert traffic["gave_up"] == 0
        assert traffic["delivered"] >= runs * 8 * 5
        assert not {"bad_mac", "replay", "bad_gossip", "gossip_flood"} & traffic["dropped"].keys()
        now[name] = status["epoch"]

    def only_the_present_ones():
        """A rotation may be going on just now: then the next look will do."""
        for name, state in states.items():
            epochs = mix_keys(state)
            logs = {path.name for path in (state / "replay").iterdir()}
            if logs != {f"{epoch}.log" for epoch in epochs} or len(epochs) > 3:
                return False
            assert min(epochs) >= now[name] - 1
        return True

    until(only_the_present_ones)
    for name in names:
        on_disk = everything_in(states[name])
        assert len(old[name]) >= 2
        assert not any(private in on_disk for private in old[name].values())
        assert not any(base64.b64decode(private) in on_disk for private in old[name].values())
        assert {path.stat().st_mode & 0o777 for path in (states[name] / "replay").iterdir()} <= {0o600}
        log = (testbed.folder / "logs" / f"{name}.log").read_text()
        assert "Traceback" not in log
        assert "ALARM" not in log


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_a_run_goes_on_through_many_epochs(testbed, until):
    with telling(testbed):
        train_through(testbed, until, 12.0)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_runs_go_on_through_a_minute_of_epochs(testbed, until):
    with telling(testbed):
        train_through(testbed, until, 60.0)


# -- a replay, before and after kill -9 ------------------------------------------------------------


class Outsider:
    """An enrolled peer in this process, in the place of one that was ended: with real links, and with what
    no daemon has, packets of its own making and the will to send them again."""

    def __init__(self, state: PeerState, address: str) -> None:
        network = state.network
        self.state = state
        self.geometry = Geometry(network.max_hops, network.body_bytes)
        self.key = MixKey.generate()
        self.up: set[bytes] = set()
        self.heard: dict[bytes, list] = {}
        self.came: Counter[bytes] = Counter()
        self._news = asyncio.Event()
        self.table = LinkTable(
            config=LinkConfig(listen=address, backoff_max_seconds=0.5),
            packet_bytes=self.geometry.packet_bytes,
            tls_server=server_ssl_context(state),
            tls_client=client_ssl_context(state),
            policy=DialPolicy((), address),
            expects=lambda _peer, _certificate: True,
            on_packet=self._packet,
            on_gossip=self._gossip,
            on_link=self._link,
            on_drop=lambda _reason: None,
            clock=monotonic,
            rng=random.Random(1),
            log=Silent(),
        )
        for descriptor in state.roster:
            if descriptor.peer_id != state.peer_id:
                self.table.set_addresses(descriptor.peer_id, descriptor.addresses)

    def _packet(self, packet):
        match unwrap(self.geometry, self.key, packet):
            case Deliver(message=message):
                self.came[message.rstrip(b"\0")] += 1
                self._news.set()

    def _gossip(self, peer, data):
        match messages.decode(data):
            case messages.Summary():  # "I know nothing": whatever is new comes
                (_, nothing), *_ = messages.encode_digests([], gossip_bytes(self.geometry.packet_bytes))
                self.table.announce(peer, nothing)
            case messages.Records(encoded=records):
                for record in map(open_record, records):
                    if record.kind is Kind.DESCRIPTOR:
                        descriptor = decode_descriptor(record.message.SerializeToString())
                        self.heard.setdefault(descriptor.peer_id, []).append(descriptor)
        self._news.set()

    def _link(self, peer, direction, up):
        (self.up.add if up else self.up.discard)((peer, direction))
        self._news.set()

    async def until(self, condition, seconds: float = 60.0):
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def linked(self, peer):
        await self.until(lambda: {(peer, "outbound"), (peer, "inbound")} <= self.up and peer in self.heard)

    async def unlinked(self, peer):
        await self.until(lambda: not {(peer, "outbound"), (peer, "inbound")} & self.up)
        self.heard.pop(peer, None)

    def packet(self, relay, relay_key: bytes, text: bytes) -> bytes:
        """By one relay to ourselves: if it is forwarded, we see it."""
        path = [Hop(relay, relay_key, 0.0), Hop(self.state.peer_id, self.key.public, 0.0)]
        return wrap(self.geometry, path, text.ljust(self.geometry.message_bytes, b"\0"))

    async def send(self, relay, *packets: bytes, fence: bytes, key: bytes) -> None:
        """Send them, then one that is new: a link and an inbox keep order, so that when this one comes back
        the relay has dealt with all before it."""
        for packet in (*packets, self.packet(relay, key, fence)):
            assert self.table.send(relay, packet) is None
        await self.until(lambda: self.came[fence] == 1)


class Silent:
    def warning(self, _event, **_fields):
        pass

    debug = warning


@pytest.mark.timeout(180)
async def test_a_packet_is_refused_again_after_kill_9_and_when_its_key_is_gone(testbed, until, tmp_path):
    epochs = Epochs(8.0, 8.0)
    await asyncio.to_thread(
        testbed.up, 3, "--hops", "1", "--epoch", "8s", "--loop-rate", "0", "--drop-rate", "0"
    )
    pids = testbed.pids()
    _, relay_name, gone = pids
    state = PeerState.load(testbed.folder / "peers" / gone)
    own = next(d for d in state.roster if d.peer_id == state.peer_id)
    relay = next(d.peer_id for d in state.roster if d.name == relay_name)
    os.kill(pids[gone], signal.SIGTERM)
    outsider = Outsider(state, own.address)
    await asyncio.to_thread(until, lambda: bound(outsider))
    links = asyncio.create_task(outsider.table.run())

    async def dropped(reason: str) -> int:
        status = await asyncio.to_thread(testbed.call, relay_name, Client.status)
        return int(status.traffic.dropped[reason])

    command = command_of(pids[relay_name])
    again = None
    try:
        await outsider.linked(relay)
        (epoch, key) = newest(outsider, relay).mix_keys[-1]  # the younger: it lives longest
        assert epoch == epochs.at(wall()) + 1 or epoch == epochs.at(wall())
        recorded = outsider.packet(relay, key, b"recorded")
        await outsider.send(relay, recorded, fence=b"first", key=key)
        assert outsider.came[b"recorded"] == 1
        await outsider.send(relay, recorded, recorded, fence=b"second", key=key)
        assert outsider.came[b"recorded"] == 1
        assert await dropped("replay") == 2

        os.kill(pids[relay_name], signal.SIGKILL)
        await outsider.unlinked(relay)
        log = (tmp_path / "relay.log").open("wb")
        again = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        await outsider.linked(relay)
        said = newest(outsider, relay)
        assert dict(said.mix_keys).get(epoch, key) == key  # its keys are those of before
        await outsider.send(relay, recorded, fence=b"third", key=key)
        assert outsider.came[b"recorded"] == 1
        assert await dropped("replay") == 1  # counted anew, by a new process
        assert await dropped("bad_mac") == 0

        over = epochs.begins(epoch + 1) + epochs.grace
        await asyncio.to_thread(until, lambda: wall() > over and forgotten(testbed, relay_name, epoch))
        await outsider.until(lambda: newest(outsider, relay).mix_keys[0][0] > epoch + 1)
        young = newest(outsider, relay).key_for(epochs.at(wall()))
        await outsider.send(relay, recorded, fence=b"fourth", key=young)
        assert outsider.came[b"recorded"] == 1
        assert await dropped("bad_mac") == 1
        assert await dropped("replay") == 1
    finally:
        links.cancel()
        await asyncio.wait({links})
        if again is not None:
            again.terminate()
            await asyncio.to_thread(again.wait, 30)


def newest(outsider: Outsider, peer):
    return max(outsider.heard[peer], key=lambda descriptor: descriptor.version)


def command_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]


def bound(outsider: Outsider) -> bool:
    try:
        outsider.table.start()
    except ConflictError:
        return False
    return True


def forgotten(testbed, name: str, epoch: int) -> bool:
    state = testbed.folder / "peers" / name
    return epoch not in mix_keys(state) and not (state / "replay" / f"{epoch}.log").exists()


# -- many replays of all ages, while a run goes on ---------------------------------------------------


EPOCH_SECONDS = 5.0
RECORDED_EPOCHS = 4
"""A key of five seconds lives for at most fifteen: of those recorded first the keys are gone at the end."""
BURST = 10
RECORD_EVERY_SECONDS = 0.5


class Recording:
    """Packets that went through a relay once, all that it is sent again, and what it must say to that."""

    def __init__(self, outsider: Outsider, relay, epochs: Epochs) -> None:
        self._outsider = outsider
        self._relay = relay
        self._epochs = epochs
        self._packets: list[tuple[int, bytes]] = []
        self._fences = 0

    async def key_in(self, ahead: int) -> tuple[int, bytes]:
        """Once it has been heard of: gossip may bring it after the epoch has begun."""

        def known() -> tuple[int, bytes | None]:
            epoch = self._epochs.at(wall()) + ahead
            return epoch, newest(self._outsider, self._relay).key_for(epoch)

        await self._outsider.until(lambda: known()[1] is not None)
        return known()

    async def record(self, ahead: int = 0) -> None:
        """Some more, fresh, to be sent again later: for the key of now, or of the next epoch."""
        epoch, key = await self.key_in(ahead)
        known = len(self._packets)
        texts = [b"recorded %d" % number for number in range(known, known + BURST)]
        packets = [self._outsider.packet(self._relay, key, text) for text in texts]
        self._packets += [(epoch, packet) for packet in packets]
        await self._send(packets)
        assert all(self._outsider.came[text] == 1 for text in texts)

    async def replay(self) -> tuple[int, int]:
        """All of them. How many keys are there still for sure, and how many are gone for sure, by packet."""
        began = self._epochs.at(wall())
        await self._send([packet for _, packet in self._packets])
        ended = self._epochs.at(wall())
        assert {self._outsider.came[b"recorded %d" % n] for n in range(len(self._packets))} == {1}
        held = sum(epoch >= ended - 1 for epoch, _ in self._packets)
        gone = sum(epoch < began - 1 for epoch, _ in self._packets)
        return held, gone

    @property
    def count(self) -> int:
        return len(self._packets)

    async def _send(self, packets: list[bytes]) -> None:
        self._fences += 1
        _, key = await self.key_in(0)
        await self._outsider.send(self._relay, *packets, fence=b"fence %d" % self._fences, key=key)


@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_replays_of_every_age_are_refused_before_and_after_kill_9_while_a_run_goes_on(
    testbed, until, tmp_path
):
    """Paths have two mix nodes, so that five peers, and four of them, can do without the sixth."""
    epochs = Epochs(EPOCH_SECONDS, EPOCH_SECONDS)
    await asyncio.to_thread(testbed.up, 6, "--epoch", "5s", "--hops", "2")
    pids = testbed.pids()
    names = list(pids)
    relay_name, gone, others = names[1], names[5], [names[0], *names[2:5]]
    state = PeerState.load(testbed.folder / "peers" / gone)
    own = next(d for d in state.roster if d.peer_id == state.peer_id)
    relay = next(d.peer_id for d in state.roster if d.name == relay_name)

    async def ask(*arguments: str):
        return await asyncio.to_thread(testbed.ask, *arguments)

    async def dropped() -> Counter[str]:
        status = await ask("--context", relay_name, "status")
        return Counter({reason: int(count) for reason, count in status["traffic"]["dropped"].items()})

    def without_it() -> bool:
        """Nobody knows a mix key of the sixth, who says nothing of itself: nobody sends by it or to it."""
        return all(testbed.ask("--context", n, "status")["peers_alive"] == 4 for n in names[:5])

    os.kill(pids[gone], signal.SIGTERM)
    outsider = Outsider(state, own.address)
    await asyncio.to_thread(until, lambda: bound(outsider))
    links = asyncio.create_task(outsider.table.run())
    command = command_of(pids[relay_name])
    again = None
    try:
        await outsider.linked(relay)
        stale = epochs.begins(epochs.at(wall()) + 2)
        await asyncio.to_thread(until, lambda: wall() > stale and without_it())
        recording = Recording(outsider, relay, epochs)
        for name in names[:5]:
            await ask(
                "--context", name, "run", "start", "--run-id", "5" * 32, "--rounds", "200", "--quorum", "0.5"
            )
        first = epochs.at(wall())
        while epochs.at(wall()) < first + RECORDED_EPOCHS:
            await recording.record()
            await asyncio.sleep(RECORD_EVERY_SECONDS)
        assert recording.count >= 2 * RECORDED_EPOCHS * BURST
        assert (await ask("run", "show"))["state"] == "running"

        before = await dropped()
        held, lost = await recording.replay()
        said = await dropped() - before
        assert said["replay"] + said["bad_mac"] >= recording.count
        assert said["replay"] >= held > 0
        assert said["bad_mac"] >= lost > 0
        for name in names[:5]:
            assert (await ask("--context", name, "status"))["traffic"]["gave_up"] == 0

        await recording.record(ahead=1)
        os.kill(pids[relay_name], signal.SIGKILL)
        await outsider.unlinked(relay)
        log = (tmp_path / "relay.log").open("wb")
        again = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        await outsider.linked(relay)
        before = await dropped()
        held, lost = await recording.replay()
        said = await dropped() - before
        assert said["replay"] + said["bad_mac"] >= recording.count
        assert said["replay"] >= held > 0
        assert said["bad_mac"] >= lost > 0
        await recording.record()  # and what is fresh goes through

        assert {(await ask("--context", name, "run", "show"))["state"] for name in others} == {"running"}
    finally:
        links.cancel()
        await asyncio.wait({links})
        if again is not None:
            again.terminate()
            await asyncio.to_thread(again.wait, 30)
