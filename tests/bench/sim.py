"""What the simulator costs: 200 peers, ten virtual minutes of cover and fragments. One JSON object on stdout.

Every peer sends 0.05 loops and 0.05 drops a second and, once a minute, four fragments, over three hops each
way: some 230 packets a second of the whole network, half of them cover. Cover is a tenth of what a daemon has
by default, so that ten minutes fit into one: with --rate 0.5 there are six times the packets.

    packets        handed to links, by all peers
    cpu_seconds    of the process, for all of it
    wall_seconds   the same by the clock on the wall: longer where others use the core too
    us_per_packet  CPU time over packets: a hop, its share of the wraps, and the simulator itself
    floor_us       two bare X25519 multiplications, before and after it, as in hop.py: how fast the machine is
    digest         of every packet: when, between whom, its bytes
    identical      with --twice: whether a second process, with another hash seed, had the same; else null

One core, one process (with --twice one after the other). What it may cost: `tests/soak/test_simulator.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.config import MixingConfig
from peerd.sim import World

FRAGMENT_BYTES = 400
FRAGMENTS_EACH, EVERY_SECONDS = 4, 60.0
"""Every peer sends so many, to random others, so often."""
FLOOR_SAMPLES = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=0.05, help="loops, and drops, of a peer in a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twice", action="store_true", help="in two processes; compare the digests")
    given = parser.parse_args()
    if not given.twice:
        print(json.dumps(measure(given.peers, given.seconds, given.rate, given.seed), indent=1))
        return
    options = [f"--{name}={getattr(given, name)}" for name in ("peers", "seconds", "rate", "seed")]
    first, second = (again(options, hash_seed) for hash_seed in ("1", "2"))
    print(json.dumps(first | {"identical": first["digest"] == second["digest"]}, indent=1))


def again(options: list[str], hash_seed: str) -> dict[str, object]:
    command = [sys.executable, __file__, *options]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def measure(peers: int, seconds: float, rate: float, seed: int) -> dict[str, object]:
    before = floor()
    start, began = time.process_time(), time.perf_counter()
    world = simulate(peers, seconds, rate, seed)
    spent, took = time.process_time() - start, time.perf_counter() - began
    packets = sum(sum(world[index].sent.values()) for index in range(peers))
    return {
        "peers": peers,
        "virtual_seconds": world.now,
        "cpu_seconds": round(spent, 2),
        "wall_seconds": round(took, 2),
        "packets": packets,
        "us_per_packet": round(spent / packets * 1e6, 1),
        "floor_us": round((before + floor()) / 2, 1),
        "digest": world.digest(),
        "identical": None,
    }


def floor() -> float:
    """Microseconds of CPU."""
    private = X25519PrivateKey.generate()
    public = X25519PrivateKey.generate().public_key()
    start = time.process_time()
    for _ in range(2 * FLOOR_SAMPLES):
        private.exchange(public)
    return (time.process_time() - start) / FLOOR_SAMPLES * 1e6


def simulate(peers: int, seconds: float, rate: float, seed: int) -> World:
    mixing = MixingConfig(loop_rate_per_second=rate, drop_rate_per_second=rate)
    world = World(peers, seed, mixing=mixing)

    def send_fragments() -> None:
        for sender in range(peers):
            for _ in range(FRAGMENTS_EACH):
                recipient = (sender + 1 + world.rng.randrange(peers - 1)) % peers
                world.send(sender, recipient, world.rng.randbytes(FRAGMENT_BYTES))
        world.at(world.now + EVERY_SECONDS, send_fragments)

    world.at(0.0, send_fragments)
    world.run(seconds)
    return world


if __name__ == "__main__":
    main()
