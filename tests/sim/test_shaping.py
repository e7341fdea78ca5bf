"""Sender shaping: what leaves a peer of its own accord looks the same with and without traffic."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from peerd.config import MixingConfig
from peerd.relay.trace import Left
from peerd.types import PacketKind

PEERS, RATE, SECONDS = 3, 4.0, 150.0
EXPONENTIAL = [-math.log1p(-(n + 0.5) / 5000) / RATE for n in range(5000)]
"""The gaps of a Poisson process of that rate, as if each quantile had been drawn once."""


def p_value(one, two):
    """Two-sample Kolmogorov and Smirnov: the asymptotic probability of so large a distance by chance."""
    first, second = sorted(one), sorted(two)
    i = j = 0
    distance = 0.0
    while i < len(first) and j < len(second):
        if first[i] <= second[j]:
            i += 1
        else:
            j += 1
        distance = max(distance, abs(i / len(first) - j / len(second)))
    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    x = (size + 0.12 + 0.11 / size) * distance
    return min(1.0, 2.0 * sum((-1) ** (k - 1) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 101)))


def test_the_measure_itself():
    even = [n / 500 for n in range(500)]
    assert p_value(even, even) > 0.99
    assert p_value(even, [x * 1.3 for x in even]) < 0.01


def departures(network, seed, traffic, seconds=SECONDS, **mixing):
    """When each peer let go of an own packet or a drop, and the world after it."""
    left = {}

    def trace(record):
        if isinstance(record, Left) and record.kind in (PacketKind.OWN, PacketKind.DROP):
            left.setdefault(record.peer, []).append(record.at)

    config = MixingConfig(
        hops=1, send_rate_per_second=RATE, loop_rate_per_second=0.0, drop_rate_per_second=0.0, **mixing
    )
    net = network(PEERS, seed=seed, mixing=config, trace=trace)
    sent = 0
    if traffic:

        def burst():  # a round: many at once, then nothing
            nonlocal sent
            for number in range(40):
                for sender in range(PEERS):
                    net.send(sender, (sender + 1 + number % 2) % PEERS, b"%d:%d" % (sender, sent))
                    sent += 1
            if net.now < seconds * 0.6:
                net.at(net.now + 30.0, burst)

        net.at(0.0, burst)
    net.run(seconds)
    return [left[net.ids[index]] for index in range(PEERS)], net, sent


@pytest.mark.parametrize("strategy", ["exponential", "none"])
def test_whether_there_is_traffic_does_not_show(network, strategy):
    quiet, calm, _ = departures(network, 1, False, strategy=strategy)
    busy, net, sent = departures(network, 2, True, strategy=strategy)
    for one, two in zip(quiet, busy, strict=True):
        for times in (one, two):
            assert abs(len(times) - RATE * SECONDS) < 4.0 * math.sqrt(RATE * SECONDS)
        gaps = [[later - earlier for earlier, later in pairwise(times)] for times in (one, two)]
        assert p_value(*gaps) > 0.01
        assert p_value(gaps[1], EXPONENTIAL) > 0.01  # and it is a Poisson process
    assert all(calm[index].sent[PacketKind.OWN] == 0 for index in range(PEERS))
    assert sum(len(net[index].acked) for index in range(PEERS)) == sent
    assert sum(len(net[index].received) for index in range(PEERS)) == sent
    assert all(net[index].gave_up == [] for index in range(PEERS))
    assert all(net[index].sent[PacketKind.OWN] > 0.2 * RATE * SECONDS for index in range(PEERS))


def test_without_shaping_traffic_does_show(network):
    """What the test above would find."""
    left = []
    mixing = MixingConfig(hops=1, loop_rate_per_second=0.0, drop_rate_per_second=RATE, strategy="none")

    def trace(record):
        if isinstance(record, Left) and record.peer == net.ids[0]:
            left.append(record.at)

    net = network(PEERS, seed=3, mixing=mixing, trace=trace)
    for number in range(100):
        net.send(0, 1, b"%d" % number)
    net.run(30.0)
    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert p_value(gaps, EXPONENTIAL) < 0.001


def test_a_burst_leaves_at_the_rate_and_in_its_turn(network):
    """40 messages at 4 a second need ten seconds: the price of not showing them."""
    busy, net, sent = departures(network, 5, True, seconds=25.0)
    assert sent == 40 * PEERS
    for index, times in enumerate(busy):
        for end in (2.0, 5.0, 10.0):
            assert sum(time < end for time in times) < end * RATE + 4 * math.sqrt(end * RATE)
        assert net[index].mixnet.delivery.queued == 0
        assert len(net[index].acked) == 40
