"""What has happened at peers, as a stream."""

from __future__ import annotations

from typing import TypeAlias

from ctl.streams import Stream
from ctl.streams import Told as ToldItem
from peerd.pb import node_pb2

Told: TypeAlias = ToldItem[node_pb2.Event]
EVENTS: Stream[node_pb2.Event] = Stream(
    "events",
    recall=lambda client, last: client.events(follow=False, last=last),
    follow=lambda client, last: client.events(follow=True, last=last),
    overlap=100,
)
