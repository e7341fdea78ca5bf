"""What the experiment asks of real daemons; the whole of it is a soak."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from ctl.experiment.testbed import mean_bits, read_meters
from peerd.errors import NotFoundError
from peerd.pb import mixing_pb2


async def test_the_meter_of_a_testbed_is_the_mean_over_all_departures(peers: Any) -> None:
    for name, mixed, mean in (("alice", 300, 2.0), ("bob", 100, 4.0), ("carol", 0, 0.0)):
        peers.add(name).measured = mixing_pb2.MixingMeasured(
            entropy_bits=9.0, mixed=mixed, mean_entropy_bits=mean
        )
    meters = await read_meters([peers.endpoint(name) for name in ("alice", "bob", "carol")])
    assert [one.mixed for one in meters] == [300, 100, 0]
    assert mean_bits(meters) == pytest.approx(2.5)
    assert mean_bits(meters[2:]) == 0.0


async def test_a_daemon_that_does_not_say_is_an_error(peers: Any) -> None:
    peers.add("alice")
    peers.add("bob").refuse = (grpc.StatusCode.NOT_FOUND, "no such thing")
    with pytest.raises(NotFoundError, match="no such thing"):
        await read_meters([peers.endpoint("alice"), peers.endpoint("bob")])
