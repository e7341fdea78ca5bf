"""A world is its seed: also in another process, where Python's hashes, and so the order of sets, differ."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

EVERYTHING = """
import sys
from peerd.config import MixingConfig
from peerd.sim import World
from peerd.sphinx import Epochs

COVER = {"loop_rate_per_second": 0.05, "drop_rate_per_second": 0.05}
net = World(20, int(sys.argv[1]), mixing=MixingConfig(**COVER), epochs=Epochs(15.0, 5.0), skew_seconds=0.5,
            dead_after=2.0, loss=0.01)
rng = net.rng

def send():
    for sender in rng.sample(range(20), 6):
        if net[sender].up:
            net.send(sender, (sender + 1 + rng.randrange(19)) % 20, rng.randbytes(300), tag=sender)
    net.at(net.now + 5.0, send)

def switch(strategy, **more):
    some = rng.sample(range(20), 10)
    net.set_mixing(MixingConfig(strategy=strategy, **(COVER | more)), some)

net.at(0.0, send)
net.at(10.0, lambda: switch("pool"))
net.at(15.0, lambda: net.kill(7))
net.at(18.0, lambda: switch("outbox", outbox_interval_seconds=0.5))
net.at(20.0, lambda: net.partition(range(8), range(8, 20)))
net.at(24.0, net.heal)
net.at(25.0, lambda: net.restart(7))
net.at(28.0, lambda: switch("timed", hops=2, send_rate_per_second=0.2))
net.at(35.0, lambda: switch("threshold", threshold_size=2))
net.at(40.0, lambda: net[3].mixnet.delivery.cancel(lambda peer, tag: True))
net.at(45.0, lambda: switch("none"))
net.run(60.0)
print(net.digest(), sum(sum(p.sent.values()) for p in net.peers.values()),
      sum(len(p.acked) for p in net.peers.values()))
"""

COMING_AND_GOING = """
import sys
from peerd.config import MixingConfig
from peerd.sim import Network, Settings
from peerd.sphinx import Epochs
from peerd.types import RunSpec

COVER = MixingConfig(loop_rate_per_second=0.05, drop_rate_per_second=0.05, hops=2)
settings = Settings(mixing=COVER, epochs=Epochs(15.0, 5.0))
net = Network(9, int(sys.argv[1]), settings, skew_seconds=0.5, loss=0.01)
spec = RunSpec(run_id=32 * "7", task="digits-cnn", rounds=5, grace_seconds=2.0, round_timeout_seconds=20.0)
net.at(2.0, lambda: net.announce(spec, 1))
net.at(4.0, lambda: net.join(3))
net.at(5.0, lambda: net.crash(2))
net.at(6.0, lambda: net.partition(range(4), range(4, 10)))
net.at(9.0, net.heal)
net.at(11.0, lambda: net.restart(2))
net.at(12.0, lambda: net.freeze(5))
net.at(14.0, lambda: net.leave(0))
net.at(15.0, lambda: net.revoke(7, 4))
net.at(17.0, lambda: net.clone(8, elsewhere=True))
net.at(18.0, lambda: net.thaw(5))
net.at(20.0, lambda: net.set_skew(1, -1.0))
net.run(40.0)
print(net.digest(), sum(sum(life.sent.values()) for life in net.lives), net.ledger.outcomes["acked"])
"""


def play(seed: int, hash_seed: str, program: str = EVERYTHING) -> tuple[str, int, int]:
    done = subprocess.run(
        [sys.executable, "-c", program, str(seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    digest, packets, acked = done.stdout.split()
    return digest, int(packets), int(acked)


@pytest.mark.soak
def test_two_processes_see_the_same_world():
    with ThreadPoolExecutor(2) as pool:
        one, two, other = pool.map(play, (1, 1, 2), ("1", "2", "1"))
    assert one == two
    assert one[0] != other[0]
    assert one[1] > 1000
    assert one[2] > 40


def test_two_processes_see_the_same_peers_come_and_go():
    with ThreadPoolExecutor(2) as pool:
        one, two, other = pool.map(play, (1, 1, 2), ("1", "2", "1"), 3 * (COMING_AND_GOING,))
    assert one == two
    assert one[0] != other[0]
    assert one[1] > 2000
    assert one[2] > 100


def test_the_digest_is_of_every_byte(network):
    worlds = [network(6, seed=1) for _ in range(3)]
    for net, payload in zip(worlds, (b"a", b"a", b"b"), strict=True):
        net.send(0, 1, payload)
        net.run(60)
    digests = [net.digest() for net in worlds]
    assert digests[0] == digests[1] != digests[2]
    assert worlds[0][0].sent == worlds[2][0].sent  # the same happened, with other bytes
