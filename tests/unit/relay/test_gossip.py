"""Gossip waits in the strategy as packets do, and leaves in the same turns."""

from __future__ import annotations

import random

import pytest

from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.relay import Mixnet
from peerd.sphinx import EpochKey, Geometry, Keyring, MixKey, ReplayFilter
from peerd.types import DropReason, PeerId

ME, NEXT = PeerId(b"\x01" * 16), PeerId(b"\x02" * 16)


class View:
    def alive(self):
        return [NEXT]

    def enrolled(self, peer):
        return peer == NEXT

    def mix_key(self, peer):
        return None


def make(announced, drops, refused=None, **mixing):
    ring = Keyring()
    ring.put(EpochKey(1, MixKey.generate(), ReplayFilter(1000)))
    ring.accept((1,))

    def announce(peer, data):
        announced.append((peer, data))
        return refused

    return Mixnet(
        me=ME, geometry=Geometry(3, 700), keyring=ring, directory=View(),
        mixing=MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0, **mixing),
        delivery=DeliveryConfig(), relay=RelayConfig(), rng=random.Random(1), now=0.0,
        emit=lambda peer, packet: pytest.fail("gossip is no packet"), journal=lambda epoch, tags: None,
        dropped=drops.append, sent=lambda kind: None,
        mixed=lambda *told: None, announce=announce,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", ["exponential", "outbox", "threshold", "timed", "none"])
def test_gossip_leaves_when_the_strategy_says(strategy):
    announced, drops = [], []
    mixnet = make(announced, drops, strategy=strategy)
    mixnet.announce(NEXT, b"descriptor", 0.0)
    assert announced == []
    now = 0.0
    while not announced:
        deadline = mixnet.next_deadline(now)
        assert deadline is not None and deadline < 5.0
        now = max(now, deadline)
        mixnet.turn(now)
    assert announced == [(NEXT, b"descriptor")]
    assert (now > 0.0) == (strategy != "none")
    assert drops == []


def test_gossip_survives_a_change_of_strategy():
    announced, drops = [], []
    mixnet = make(announced, drops, strategy="timed", timed_interval_seconds=60.0)
    mixnet.announce(NEXT, b"descriptor", 0.0)
    mixnet.set_mixing(MixingConfig(strategy="none"), 1.0)
    mixnet.turn(1.0)
    assert announced == [(NEXT, b"descriptor")]


def test_gossip_that_the_link_refuses_is_counted():
    announced, drops = [], []
    mixnet = make(announced, drops, refused=DropReason.LINK_DOWN, strategy="none")
    mixnet.announce(NEXT, b"descriptor", 0.0)
    mixnet.turn(0.0)
    assert drops == [DropReason.LINK_DOWN]
