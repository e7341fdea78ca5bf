from __future__ import annotations

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl import aio
from ctl.fanout import fan_out
from ctl.top.sample import Sample, rates, take
from peerd.errors import UnavailableError
from peerd.pb import node_pb2


def test_rates_are_what_grew_divided_by_the_time(sample_of: Any) -> None:
    found = rates(sample_of(at=10.0, cells=100), sample_of(at=14.0, cells=300))
    assert found is not None
    assert found.cells_out == 50.0
    assert found.cells_in == 25.0
    assert found.forwarded == 50.0
    assert found.own == 100.0  # own and ack
    assert found.cover == 100.0  # loop and drop; this daemon knows no dummies
    assert found.dropped == 50.0
    assert found.cpu == found.trainer_cpu == 0.5


def test_there_are_none_across_a_restart_a_gap_and_no_time(sample_of: Any) -> None:
    now = sample_of(at=10.0, cells=10)
    assert rates(sample_of(at=5.0, uptime_seconds=1e6), now) is None
    assert rates(Sample(5.0, error="gone"), now) is None
    assert rates(now, Sample(15.0, error="gone")) is None
    assert rates(now, now) is None


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 2**62), st.floats(0, 1e9)), min_size=2, max_size=2)
)
def test_rates_are_never_negative_whatever_a_peer_says(told: list[tuple[float, int, float]]) -> None:
    made = []
    for at, number, cpu in told:
        status = node_pb2.NodeStatus(uptime_seconds=at, cpu_seconds=cpu)
        status.traffic.bytes_sent = status.traffic.bytes_received = number
        status.traffic.packets["own"] = number
        made.append(Sample(at, status))
    found = rates(*made)
    if found is not None:
        assert min(getattr(found, key) for key in found.__slots__) >= 0.0


def asked(peers: Any, name: str = "alice") -> Sample:
    answers = aio.run(fan_out([peers.endpoint(name)], lambda client: take(client, 7.0), 5.0))
    if answers.bad:
        raise answers.bad[0].error
    return answers.good[0].value


def test_a_sample_has_everything(peers: Any) -> None:
    peers.add("alice")
    sample = asked(peers)
    assert sample.at == 7.0
    assert sample.status is not None and sample.status.name == "alice"
    assert sample.run is not None and sample.run.round == 1
    assert sample.mixing is not None and sample.mixing.mixed == 1234
    assert [peer.name for peer in sample.peers] == ["zoe"]


def test_a_peer_without_a_run_is_not_asked_for_it(peers: Any) -> None:
    peer = peers.add("alice")
    peer.status.run_id = ""
    assert asked(peers).run is None
    assert "Get" not in peer.called


def test_what_an_older_daemon_does_not_know_is_left_out(peers: Any) -> None:
    peer = peers.add("alice")
    peer.refuse, peer.refused = (grpc.StatusCode.UNIMPLEMENTED, "?"), {"Measure", "List", "Get"}
    sample = asked(peers)
    assert sample.status is not None
    assert (sample.run, sample.mixing, sample.peers) == (None, None, ())


def test_without_a_status_there_is_no_sample(peers: Any) -> None:
    peers.absent("bob")
    with pytest.raises(UnavailableError, match="bob: no daemon answers"):
        asked(peers, "bob")
