"""What a run put on the links, of counters that go on from run to run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.experiment.series.traffic import QUIET, Traffic, settled
from ctl.testbed import Plan
from peerd.errors import UnavailableError
from peerd.pb import node_pb2

KINDS = ["own", "ack", "forwarded", "gossip", "loop", "drop", "dummy"]
counts = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 1_000))


def status(cells: dict[str, int], pings: int = 0, **fields: Any) -> node_pb2.NodeStatus:
    sent = 100 * (sum(cells.values()) + pings)
    traffic = node_pb2.TrafficStatus(packets=cells, bytes_sent=sent, cell_bytes=100, **fields)
    return node_pb2.NodeStatus(traffic=traffic)


def test_sums_and_differences() -> None:
    before = Traffic.of([status({"own": 5, "ack": 1}, dropped={"duplicate": 1}), status({"forwarded": 7})])
    after = Traffic.of(
        [
            status(
                {"own": 15, "ack": 4, "gossip": 2}, 3, resent=2, dropped={"duplicate": 1, "not_finite": 4}
            ),
            status({"forwarded": 47, "gossip": 1}, 4, gave_up=1),
        ]
    )
    run = after.since(before)
    assert (run.run_cells, run.run_bytes, run.cover_cells) == (10 + 3 + 40, 5_300, 0)
    assert run.all_bytes - run.run_bytes == 100 * (3 + 3 + 4)
    assert (run.resent, run.gave_up, run.dropped) == (2, 1, {"not_finite": 4})


@given(st.lists(st.tuples(counts, counts, st.integers(0, 50)), min_size=1, max_size=5))
def test_every_byte_is_of_the_run_of_cover_or_beside(peers: list[tuple[Any, Any, int]]) -> None:
    before = Traffic.of(status(first) for first, _, _ in peers)
    after = Traffic.of(
        status({kind: first.get(kind, 0) + more.get(kind, 0) for kind in KINDS}, pings)
        for first, more, pings in peers
    )
    run = after.since(before)
    beside = sum(more.get("gossip", 0) + pings for _, more, pings in peers)
    assert run.all_bytes == run.run_bytes + 100 * (run.cover_cells + beside)


def test_without_cover_the_daemons_send_none() -> None:
    mixing = Plan.make(5, **QUIET).config.mixing
    assert mixing.send_rate_per_second == mixing.loop_rate_per_second == mixing.drop_rate_per_second == 0.0
    assert mixing.delays_kept and mixing.hops == 3


async def test_counters_are_read_when_the_last_message_is_home(peers: Any) -> None:
    for name in ("a", "b"):
        peers.add(name).status = status({"own": 3})
    endpoints = [peers.endpoint(name) for name in ("a", "b")]
    assert (await settled(endpoints, 10.0)).run_cells == 6


async def test_messages_that_never_come_home_are_an_error(peers: Any) -> None:
    peers.add("a").status = status({"own": 3}, in_flight=1)
    with pytest.raises(UnavailableError, match="after 1 s there are still messages without acknowledgement"):
        await settled([peers.endpoint("a")], 1.0)


async def test_who_does_not_answer_is_an_error(peers: Any) -> None:
    with pytest.raises(UnavailableError, match="a"):
        await settled([peers.absent("a")], 10.0)
