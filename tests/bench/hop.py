"""What a hop costs, in microseconds: one JSON object on stdout. Run it on a quiet machine.

    floor_us            two bare X25519 multiplications (`cryptography`, keys and points loaded)
    sphinxmix_us        stock `sphinx_process`, default parameters (P-224), by body size
    unwrap_us           `peerd.sphinx.unwrap` of a packet that goes on, by body size
    wrap_with_surb_us   `make_surb` and `wrap` of a message with it, by three mix nodes
    ratio_to_floor      unwrap_us / floor_us

Medians. Every round measures each in turn, so that what disturbs the machine disturbs all; each for
a batch of calls, as a relay too takes several packets a turn.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sphinxmix.SphinxClient import Nenc, create_forward_message
from sphinxmix.SphinxNode import sphinx_process
from sphinxmix.SphinxParams import SphinxParams

from peerd.sphinx import Deliver, Forward, Geometry, Hop, MixKey, make_surb, unwrap, wrap
from peerd.types import PEER_ID_BYTES, PeerId

BODY_BYTES = (1024, 8192, 16384, 32768)
MIX_NODES = 3
ROUNDS = 300
WARM_UP = 10
BATCH = 8

Job = Callable[[], object]


def main() -> None:
    jobs: dict[tuple[str, str], Job] = {("floor_us", ""): floor()}
    for size in BODY_BYTES:
        jobs["unwrap_us", str(size)] = unwrapping(size)
        jobs["wrap_with_surb_us", str(size)] = wrapping(size)
        jobs["sphinxmix_us", str(size)] = stock(size)
    medians = measure(jobs)
    floor_us = medians.pop(("floor_us", ""))
    report: dict[str, object] = {"floor_us": round(floor_us, 1)}
    for name in ("sphinxmix_us", "unwrap_us", "wrap_with_surb_us"):
        report[name] = {str(size): round(medians[name, str(size)], 1) for size in BODY_BYTES}
    report["ratio_to_floor"] = {
        str(size): round(medians["unwrap_us", str(size)] / floor_us, 2) for size in BODY_BYTES
    }
    print(json.dumps(report))


def measure(jobs: dict[tuple[str, str], Job]) -> dict[tuple[str, str], float]:
    """Median microseconds of one call of each job."""
    samples: dict[tuple[str, str], list[float]] = {name: [] for name in jobs}
    clock = time.perf_counter_ns
    for turn in range(WARM_UP + ROUNDS):
        for name, job in jobs.items():
            start = clock()
            for _ in range(BATCH):
                job()
            spent = clock() - start
            if turn >= WARM_UP:
                samples[name].append(spent / BATCH)
    return {name: statistics.median(spent) / 1e3 for name, spent in samples.items()}


def floor() -> Job:
    private = X25519PrivateKey.generate()
    public = X25519PrivateKey.generate().public_key()

    def twice() -> None:
        private.exchange(public)
        private.exchange(public)

    return twice


def unwrapping(size: int) -> Job:
    geometry = Geometry(body_bytes=size)
    keys, path = make_path()
    packet = wrap(geometry, path, os.urandom(geometry.message_bytes))
    if not isinstance(unwrap(geometry, keys[0], packet), Forward):
        raise SystemExit("the benchmark's packet was not accepted")
    return lambda: unwrap(geometry, keys[0], packet)


def wrapping(size: int) -> Job:
    geometry = Geometry(body_bytes=size)
    keys, there = make_path()
    _, back = make_path()
    fragment = os.urandom(geometry.message_bytes - geometry.surb_bytes)

    def send() -> bytes:
        surb, _ = make_surb(geometry, back)
        return wrap(geometry, there, surb.to_bytes() + fragment)

    packet = send()
    for key in keys:
        step = unwrap(geometry, key, packet)
        packet = step.packet if isinstance(step, Forward) else b""
    if not isinstance(step, Deliver):
        raise SystemExit("the benchmark's packet did not arrive")
    return send


def stock(size: int) -> Job:
    params = SphinxParams(body_len=size)
    secrets = [params.group.gensecret() for _ in range(MIX_NODES + 1)]
    public = [params.group.expon_base([secret]) for secret in secrets]
    nodes = [Nenc(number) for number in range(MIX_NODES + 1)]
    message = os.urandom(size // 2)
    header, delta = create_forward_message(params, nodes, public, b"peer", message)
    return lambda: sphinx_process(params, secrets[0], header, delta)


def make_path() -> tuple[list[MixKey], list[Hop]]:
    keys = [MixKey.generate() for _ in range(MIX_NODES + 1)]
    return keys, [Hop(PeerId(os.urandom(PEER_ID_BYTES)), key.public, 0.05) for key in keys]


if __name__ == "__main__":
    main()
