"""One peer's whole mixnet side as a synchronous object: packets and time in, packets and events out.

A packet passes these stations once and in this order:

    arrived -> inbox -> unwrap -> replay filter -> journal -> | Forward     -> strategy -> emit
                                                              | Deliver     -> delivery
                                                              | SurbReply   -> delivery
    own packets, acknowledgements and cover ---- inject ----> strategy -> emit

Whatever is discarded on the way is counted with its reason, here and nowhere else.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from peerd.clock import earliest
from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.delivery import Delivery, Directory, Dropped, Event, Inject
from peerd.mix import CoverSchedule, CoverWanted, Queued, Strategy, make_strategy
from peerd.sphinx import (
    Deliver,
    Forward,
    Geometry,
    MixKey,
    Rejected,
    ReplayFilter,
    SurbReply,
    Unwrapped,
    unwrap,
)
from peerd.types import DropReason, PacketKind, PeerId

UNWRAPS_PER_TURN = 8
"""About a millisecond: the loop gets back to links, timers and control calls between turns."""

Emit = Callable[[PeerId, bytes], DropReason | None]
"""Hand a packet to the link of a neighbour; a reason where it was not taken."""
Journal = Callable[[list[bytes]], None]
"""Make replay tags durable; returns before any of their packets is forwarded."""
Count = Callable[[DropReason], None]
CountPacket = Callable[[PacketKind], None]


class Mixnet:
    def __init__(
        self,
        *,
        me: PeerId,
        geometry: Geometry,
        key: MixKey,
        replay: ReplayFilter,
        directory: Directory,
        mixing: MixingConfig,
        delivery: DeliveryConfig,
        relay: RelayConfig,
        rng: random.Random,
        now: float,
        emit: Emit,
        journal: Journal,
        dropped: Count,
        sent: CountPacket,
    ) -> None:
        self._me = me
        self._geometry = geometry
        self._key = key
        self._replay = replay
        self._directory = directory
        self._rng = rng
        self._emit = emit
        self._journal = journal
        self._dropped = dropped
        self._sent = sent
        self._inbox: deque[bytes] = deque()
        self._inbox_limit = relay.inbox_limit
        self._mixing = mixing
        self._strategy: Strategy = make_strategy(mixing, rng, now)
        self._schedule = CoverSchedule(mixing, rng, now)
        self.delivery = Delivery(me, geometry, delivery, mixing, directory, rng)

    @property
    def inbox_depth(self) -> int:
        return len(self._inbox)

    @property
    def mix_depth(self) -> int:
        return len(self._strategy)

    def arrived(self, packet: bytes) -> None:
        """A packet from a link, not yet looked at."""
        if len(self._inbox) >= self._inbox_limit:
            self._dropped(DropReason.INBOX_FULL)
        else:
            self._inbox.append(packet)

    def set_mixing(self, mixing: MixingConfig, now: float) -> None:
        """Switch strategy and parameters; what the old strategy holds goes into the new one."""
        held = self._strategy.drain(now)
        self._mixing = mixing
        self._strategy = make_strategy(mixing, self._rng, now)
        self._strategy.adopt(held, now)
        self._schedule.reconfigure(mixing, now)
        self.delivery.reconfigure(mixing)

    def peer_died(self, peer: PeerId, now: float) -> list[Event]:
        return self._report(self.delivery.peer_died(peer, now))

    def turn(self, now: float) -> list[Event]:
        """Do what is due, at most about a millisecond's worth of unwrapping and of wrapping."""
        events = self._unwrap_some(now)
        events += self._absorb(self.delivery.work(now), now)
        for kind in self._schedule.due(now):
            self._inject_cover(kind, now)
        self._release(now)
        return events

    def next_deadline(self, now: float) -> float | None:
        """When to take the next turn; `now` while something waits already."""
        if self._inbox:
            return now
        return earliest(
            self._strategy.next_deadline(),
            self._schedule.next_deadline(),
            self.delivery.next_deadline(now),
        )

    def _unwrap_some(self, now: float) -> list[Event]:
        fresh: list[Unwrapped] = []
        tags: list[bytes] = []
        for _ in range(min(UNWRAPS_PER_TURN, len(self._inbox))):
            unwrapped = unwrap(self._geometry, self._key, self._inbox.popleft())
            if isinstance(unwrapped, Rejected):
                self._dropped(unwrapped.reason)
                continue
            refused = self._replay.check_and_add(unwrapped.tag)
            if refused is not None:
                self._dropped(refused)
                continue
            tags.append(unwrapped.tag)
            fresh.append(unwrapped)
        if not fresh:
            return []
        self._journal(tags)
        events: list[Event] = []
        for unwrapped in fresh:
            events += self._process(unwrapped, now)
        return events

    def _process(self, unwrapped: Unwrapped, now: float) -> list[Event]:
        match unwrapped:
            case Forward(next_hop=next_hop, delay=delay, packet=packet):
                self._forward(packet, next_hop, delay, now)
            case Deliver(message=message):
                return self._absorb(self.delivery.received(message, now), now)
            case SurbReply(surb_id=surb_id, body=body):
                return self._absorb(self.delivery.replied(surb_id, body, now), now)
        return []

    def _forward(self, packet: bytes, next_hop: PeerId, delay: float, now: float) -> None:
        if delay > self._mixing.max_delay_seconds:
            self._dropped(DropReason.DELAY_TOO_LONG)
        elif self._routable(next_hop):
            self._push(Queued(packet, next_hop, PacketKind.FORWARDED, delay, None), now)

    def _routable(self, next_hop: PeerId) -> bool:
        if next_hop == self._me:
            self._dropped(DropReason.NEXT_HOP_SELF)
        elif self._directory.mix_key(next_hop) is None:
            self._dropped(DropReason.NEXT_HOP_UNKNOWN)
        else:
            return True
        return False

    def _absorb(self, events: list[Event], now: float) -> list[Event]:
        """Inject what delivery wants sent; pass on the rest."""
        passed_on: list[Event] = []
        for event in events:
            if isinstance(event, Inject):
                self._inject(event, now)
                if event.resend:
                    passed_on.append(event)
            else:
                passed_on.append(event)
        return self._report(passed_on)

    def _report(self, events: list[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, Dropped):
                self._dropped(event.reason)
        return [event for event in events if not isinstance(event, Dropped)]

    def _inject(self, own: Inject, now: float) -> None:
        queued = Queued(own.packet, own.first_hop, own.kind, own.delay, own.token)
        if self._routable(own.first_hop):
            self._push(queued, now)
        else:
            self._tell_lost(queued, now)

    def _inject_cover(self, kind: PacketKind, now: float) -> None:
        cover = self.delivery.cover(kind, now)
        if cover is not None:
            self._inject(cover, now)

    def _push(self, item: Queued, now: float) -> None:
        refused = self._strategy.push(item, now)
        if refused is not None:
            self._dropped(refused)
            self._tell_lost(item, now)

    def _release(self, now: float) -> None:
        for item in self._strategy.due(now):
            if isinstance(item, CoverWanted):
                self._release_cover(now)
            else:
                self._depart(item, now)

    def _release_cover(self, now: float) -> None:
        """The strategy's slot is now: this cover does not queue again."""
        cover = self.delivery.dummy()
        if cover is not None and self._routable(cover.first_hop):
            self._depart(Queued(cover.packet, cover.first_hop, cover.kind, 0.0, None), now)

    def _depart(self, item: Queued, now: float) -> None:
        refused = self._emit(item.next_hop, item.packet)
        if refused is not None:
            self._dropped(refused)
            self._tell_lost(item, now)
            return
        self._sent(item.kind)
        if isinstance(item.token, bytes):
            self.delivery.departed(item.token, now)

    def _tell_lost(self, item: Queued, now: float) -> None:
        if isinstance(item.token, bytes):
            self.delivery.lost(item.token, now)
