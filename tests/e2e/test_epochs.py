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
    await asyncio.to_thread(testbed.up, 6, "--epoch", "8s", "--loop-rate", "0", "--drop-rate", "0")
    pids = testbed.pids()
    relay_name, gone = list(pids)[1], list(pids)[5]
    state = PeerState.load(testbed.folder / "peers" / gone)
    own = next(d for d in state.roster if d.peer_id == state.peer_id)
    relay = next(d.peer_id for d in state.roster if d.name == relay_name)
    os.kill(pids[gone], signal.SIGTERM)
    outsider = Outsider(state, own.address)
    await asyncio.to_thread(until, lambda: bound(outsider))
    links = asyncio.create_task(outsider.table.run())

    async def dropped(reason: str) -> int:
        status = await asyncio.to_thread(testbed.ask, "--context", relay_name, "status")
        return int(status["traffic"]["dropped"].get(reason, 0))

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
