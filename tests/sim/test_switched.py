"""One peer mixes otherwise than the rest: what it sends is mixed at the others all the same."""

from __future__ import annotations

import statistics

import pytest

from peerd.config import MixingConfig

PEERS, MEAN = 8, 0.5
STOP_AND_GO = MixingConfig(mean_delay_seconds=MEAN, loop_rate_per_second=0.0, drop_rate_per_second=0.0)


@pytest.mark.parametrize("strategy", ["outbox", "threshold", "timed", "pool", "none"])
def test_a_peer_that_is_switched_alone_is_mixed_by_the_others(network, strategy):
    net = network(PEERS, seed=4, mixing=STOP_AND_GO)
    fast = {"timed_interval_seconds": 0.01, "pool_interval_seconds": 0.01, "threshold_patience_seconds": 0.05,
            "pool_minimum": 0, "outbox_interval_seconds": 0.05, "outbox_size": 4}  # fmt: skip
    own = MixingConfig(
        strategy=strategy, mean_delay_seconds=MEAN, loop_rate_per_second=0.0, drop_rate_per_second=0.0, **fast
    )
    net.set_mixing(own, only=[0])
    for number in range(60):
        net.send(0, 1 + number % (PEERS - 1), b"%d" % number)
    net.run(120.0, until=lambda: len(net[0].acked) == 60)
    assert len(net[0].acked) == 60
    assert not net[0].gave_up
    # Three mix nodes there, the recipient, and three back: seven delays that others keep, 3.5 s on average.
    assert statistics.median(acked.rtt for acked in net[0].acked) > 5 * MEAN
