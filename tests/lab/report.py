"""What the switch counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinkStatus:
    """One direction between two hosts: its settings, and its frames since the network came up."""

    up: bool
    delay: float  # seconds, one way
    jitter: float  # seconds, either way
    loss: float  # probability
    sent: int
    delivered: int
    lost: int  # by `loss`
    cut: int  # by a partition
    refused: int  # by the interface of the receiver


@dataclass(frozen=True)
class Status:
    """The whole network. While `late` or `overrun` grow, the machine is too busy to measure anything."""

    links: dict[tuple[str, str], LinkStatus]  # by (from, to)
    in_flight: int  # frames
    late: int  # frames that arrived 5 ms or more after their time
    latest: float  # seconds that the latest of all frames was late
    overrun: int  # frames that hosts sent faster than the switch could read them
