"""A little network of our own making, whose truth is known by construction."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from ctl.experiment.observation import KINDS, NOWHERE, Observation, Truth
from peerd.types import PacketKind

Delay = Callable[[float], float]
"""When a packet leaves a mix node that it reached at a moment."""


def network(
    peers: int, hops: int, rate: float, seconds: float, delay: Delay, seed: int, latency: float = 0.01
) -> tuple[Observation, Truth]:
    """Every peer sends messages to random others, `rate` a second, at Poisson times; each is answered by
    an acknowledgement, over a path of its own."""
    rng = random.Random(seed)
    cells: list[tuple[float, int, int, int, int, bool]] = []
    own, ack = KINDS.index(PacketKind.OWN), KINDS.index(PacketKind.ACK)

    def travel(path: list[int], at: float, kind: int) -> float:
        origin = len(cells)
        for step, (src, dst) in enumerate(itertools.pairwise(path)):
            at = delay(at)
            cells.append((at, src, dst, kind, origin, step == hops))
            at += latency
        return at

    now = 0.0
    while (now := now + rng.expovariate(rate * peers)) < seconds:
        sender, recipient, *rest = rng.sample(range(peers), peers)
        there = travel([sender, *rng.sample(rest, hops), recipient], now, own)
        travel([recipient, *rng.sample(rest, hops), sender], there, ack)
    sent, src, dst, kind, origin, last = (np.array(column) for column in zip(*cells, strict=True))
    n = len(sent)
    parent = np.where(origin == np.arange(n), NOWHERE, np.arange(n) - 1)
    order = np.argsort(sent, kind="stable")
    place = np.empty(n, dtype=int)
    place[order] = np.arange(n)
    parent = np.where(parent == NOWHERE, NOWHERE, place[parent])[order]
    origin, delivered = place[origin][order], (last & (kind == own))[order]
    seen = Observation(peers, sent[order], sent[order] + latency, src[order], dst[order])
    return seen, Truth(parent, kind[order], delivered, origin, seen.src[origin], np.full(n, NOWHERE))


@pytest.fixture
def make_network() -> Callable[..., tuple[Observation, Truth]]:
    return network
