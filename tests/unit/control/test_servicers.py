from __future__ import annotations

from typing import Any

import msgspec
import pytest

from peerd.control.servicers import NodeServicer
from peerd.pb import node_pb2
from peerd.status import NodeStatus, TrafficStatus, TrainerStatus

BLANK = {str: "", int: 0, float: 0.0}


def blank(kind: type[msgspec.Struct], **given: Any) -> Any:
    """With nothing in it but what is given."""
    fields = msgspec.structs.fields(kind)
    return kind(**({f.name: BLANK.get(f.type, type(f.type)) for f in fields if f.type in BLANK} | given))


class Commands:
    def status(self) -> NodeStatus:
        traffic = blank(TrafficStatus, packets={}, dropped={}, rtt_samples=[0.25, 0.5], rtt_p50_seconds=0.25)
        return blank(NodeStatus, name="alice", traffic=traffic, trainer=TrainerStatus(), alarms=[])


@pytest.mark.parametrize(("without", "samples"), [(False, [0.25, 0.5]), (True, [])])
async def test_single_round_trips_come_unless_they_are_not_wanted(
    without: bool, samples: list[float]
) -> None:
    servicer: Any = NodeServicer(Commands())  # type: ignore[arg-type]
    status = await servicer.GetStatus(node_pb2.GetStatusRequest(without_samples=without), None)
    assert (status.name, status.traffic.rtt_p50_seconds) == ("alice", 0.25)
    assert list(status.traffic.rtt_samples) == samples
