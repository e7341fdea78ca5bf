"""One peer's whole mixnet side as a synchronous object: packets and time in, packets and events out.

A packet passes these stations once and in this order:

    arrived -> inbox -> unwrap -> replay filter -> journal -> | Forward     -> strategy -> emit
                                                              | Deliver     -> delivery
                                                              | SurbReply   -> delivery
    own packets, acknowledgements and cover ---- inject ----> strategy -> emit

Whatever is discarded on the way is counted with its reason, here and nowhere else.

Packets of others go first. Cover is wrapped in advance, in turns that have nothing else to do; when a loop
or a drop is due, the stock is empty and packets wait, it is forgone and counted. A sending slot is never
forgone: that it is filled whether there is a message or not is what it is for.

Gossip leaves through the strategy too: on its own it would leave at moments when no packet does.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from peerd.clock import earliest
from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.delivery import Delivery, Directory, Dropped, Event, Inject
from peerd.mix import (
    CoverRates,
    CoverSchedule,
    CoverWanted,
    Queued,
    Slot,
    Strategy,
    draw_exponential,
    make_strategy,
)
from peerd.relay.trace import Came, Fate, Left, Opened, Tracer, packet_id
from peerd.sphinx import Deliver, EpochKey, Forward, Geometry, Keyring, Rejected, SurbReply, Unwrapped
from peerd.types import DropReason, PacketKind, PeerId

UNWRAPS_PER_TURN = 8
"""About a millisecond: the loop gets back to links, timers and control calls between turns."""

Emit = Callable[[PeerId, bytes], DropReason | None]
"""Hand a packet to the link of a neighbour; a reason where it was not taken."""
Journal = Callable[[int, list[bytes]], None]
"""Make replay tags of an epoch's key durable; returns before any of their packets is forwarded."""
Count = Callable[[DropReason], None]
CountPacket = Callable[[PacketKind], None]
Mixed = Callable[[str, float, int], None]
"""The strategy let so many packets go, each hidden by so many bits of entropy."""

NEVER_QUEUED = frozenset({PacketKind.OWN, PacketKind.ACK})
"""In direct mode."""


class Mixnet:
    def __init__(
        self,
        *,
        me: PeerId,
        geometry: Geometry,
        keyring: Keyring,
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
        mixed: Mixed,
        announce: Emit = lambda _peer, _gossip: None,
        tracer: Tracer | None = None,
    ) -> None:
        self._me = me
        self._geometry = geometry
        self._keyring = keyring
        self._directory = directory
        self._rng = rng
        self._emit = emit
        self._announce = announce
        self._journal = journal
        self._dropped = dropped
        self._sent = sent
        self._mixed = mixed
        self._tracer = tracer
        self._inbox: deque[bytes] = deque()
        self._inbox_limit = relay.inbox_limit
        self._mixing = mixing
        self._strategy: Strategy = make_strategy(mixing, rng, now)
        self._schedule = CoverSchedule(mixing, geometry.packet_bytes, rng, now)
        self._wrapped = False
        self._short_of_paths = False
        self.cover_forgone = 0
        """Cover packets that were due and not made: packets of others waited."""
        self.delivery = Delivery(me, geometry, delivery, mixing, directory, rng)

    @property
    def inbox_depth(self) -> int:
        return len(self._inbox)

    @property
    def inbox_limit(self) -> int:
        return self._inbox_limit

    @property
    def mix_depth(self) -> int:
        return len(self._strategy)

    @property
    def mix_limit(self) -> int:
        """Packets that the strategy may hold."""
        return self._mixing.queue_limit

    @property
    def cover_rates(self) -> CoverRates:
        """In force, after the budget."""
        return self._schedule.rates

    def arrived(self, packet: bytes, now: float) -> None:
        """A packet from a link, not yet looked at."""
        if self._tracer is not None:
            self._tracer(Came(now, self._me, packet_id(packet)))
        if len(self._inbox) >= self._inbox_limit:
            self._dropped(DropReason.INBOX_FULL)
        else:
            self._inbox.append(packet)

    def announce(self, peer: PeerId, gossip: bytes, now: float) -> None:
        """A piece of gossip for a neighbour waits among packets and leaves as they do."""
        delay = draw_exponential(self._rng, self._mixing.sender_delay_seconds)
        self._push(Queued(gossip, peer, PacketKind.GOSSIP, delay), now)

    def set_mixing(self, mixing: MixingConfig, now: float) -> None:
        """Switch strategy and parameters; what the old strategy holds goes into the new one."""
        held = self._strategy.drain(now)
        self._mixing = mixing
        self._strategy = make_strategy(mixing, self._rng, now)
        self._strategy.adopt(held, now)
        self._schedule.reconfigure(mixing, now)
        self.delivery.reconfigure(mixing)

    def set_relay(self, relay: RelayConfig) -> None:
        """How many packets may wait; those that wait beyond it stay."""
        self._inbox_limit = relay.inbox_limit

    def keys_changed(self) -> None:
        """The keyring accepts other keys, and so do the others'."""
        self.delivery.keys_changed()

    def peer_died(self, peer: PeerId, now: float) -> list[Event]:
        return self._report(self.delivery.peer_died(peer, now))

    def peer_left(self, peer: PeerId) -> list[Event]:
        return self._report(self.delivery.peer_left(peer))

    def turn(self, now: float) -> list[Event]:
        """Do what is due, at most about a millisecond's worth of unwrapping and of wrapping."""
        self._wrapped = False
        busy = len(self._inbox) > UNWRAPS_PER_TURN
        events = self._unwrap_some(now)
        events += self._absorb(self.delivery.work(now), now)
        for slot in self._schedule.due(now):
            events += self._fill(slot, busy, now)
        self._release(now)
        if not events and not self._wrapped and not self._inbox:
            self._stock_up()
        return events

    def next_deadline(self, now: float) -> float | None:
        """When to take the next turn; `now` while something waits already."""
        if self._inbox or (not self._short_of_paths and self._wanted_cover() is not None):
            return now
        return earliest(
            self._strategy.next_deadline(),
            self._schedule.next_deadline(),
            self.delivery.next_deadline(now),
        )

    def _unwrap_some(self, now: float) -> list[Event]:
        fresh: list[tuple[EpochKey, bytes, Unwrapped]] = []
        tags: dict[int, list[bytes]] = {}
        for _ in range(min(UNWRAPS_PER_TURN, len(self._inbox))):
            packet = self._inbox.popleft()
            key, unwrapped = self._keyring.unwrap(self._geometry, packet)
            if isinstance(unwrapped, Rejected):
                self._dropped(unwrapped.reason)
                continue
            refused = key.replay.check_and_add(unwrapped.tag)
            if refused is not None:
                self._dropped(refused)
                continue
            tags.setdefault(key.epoch, []).append(unwrapped.tag)
            fresh.append((key, packet, unwrapped))
        for epoch, accepted in tags.items():
            self._journal(epoch, accepted)
        events: list[Event] = []
        for key, packet, unwrapped in fresh:
            if self._keyring.holds(key):
                events += self._process(packet, unwrapped, now)
            else:  # its tag is not on disk, and the disk keeps the key: it must not have been here
                self._dropped(DropReason.REPLAY_LOG_LOST)
        return events

    def _process(self, came: bytes, unwrapped: Unwrapped, now: float) -> list[Event]:
        match unwrapped:
            case Forward(next_hop=next_hop, delay=delay, packet=packet):
                self._trace(came, "forward", packet, now)
                self._forward(packet, next_hop, delay, now)
            case Deliver(message=message):
                events = self.delivery.received(message, now)
                answers = [event.packet for event in events if isinstance(event, Inject)]
                self._trace(came, "deliver", answers[0] if answers else b"", now)
                return self._absorb(events, now)
            case SurbReply(surb_id=surb_id, body=body):
                self._trace(came, "reply", b"", now)
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
        elif not self._directory.enrolled(next_hop):
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
        self._wrapped = True
        if not self._routable(own.first_hop):
            self._tell_lost(queued, now)
        elif self._mixing.direct and own.kind in NEVER_QUEUED:
            self._depart(queued, now)
        else:
            self._push(queued, now)

    def _fill(self, slot: Slot, busy: bool, now: float) -> list[Event]:
        """A slot of the cover schedule: an own message in its turn, else cover."""
        own = self.delivery.next_own(now) if slot is Slot.SEND else None
        if own is not None:
            return self._absorb([own], now)
        kind = PacketKind.LOOP if slot is Slot.LOOP else PacketKind.DROP
        if busy and slot is not Slot.SEND and not self.delivery.has_cover(kind):
            self.cover_forgone += 1
            return []
        cover = self.delivery.cover(kind)
        return [] if cover is None else self._absorb([cover], now)

    def _wanted_cover(self) -> PacketKind | None:
        return self.delivery.cover_wanted(self._schedule.rates)

    def _stock_up(self) -> None:
        kind = self._wanted_cover()
        self._short_of_paths = kind is not None and not self.delivery.stock_up(kind)

    def _push(self, item: Queued, now: float) -> None:
        refused = self._strategy.push(item, now)
        if refused is not None:
            self._dropped(refused)
            self._tell_lost(item, now)

    def _release(self, now: float) -> None:
        real = 0
        for item in self._strategy.due(now):
            if isinstance(item, CoverWanted):
                self._release_cover(now)
            else:
                real += 1
                self._depart(item, now)
        if real:
            self._mixed(self._strategy.name, self._strategy.entropy_bits, real)

    def _release_cover(self, now: float) -> None:
        """The slot of the strategy is now: this cover does not queue again. None in direct mode."""
        cover = None if self._mixing.direct else self.delivery.dummy()
        if cover is not None and self._routable(cover.first_hop):
            self._depart(Queued(cover.packet, cover.first_hop, cover.kind, 0.0, None), now)

    def _depart(self, item: Queued, now: float) -> None:
        hand_over = self._announce if item.kind is PacketKind.GOSSIP else self._emit
        refused = hand_over(item.next_hop, item.packet)
        if refused is not None:
            self._dropped(refused)
            self._tell_lost(item, now)
            return
        self._sent(item.kind)
        if self._tracer is not None and item.kind is not PacketKind.GOSSIP:
            self._tracer(Left(now, self._me, item.next_hop, packet_id(item.packet), item.kind))
        if isinstance(item.token, bytes):
            self.delivery.departed(item.token, now)

    def _tell_lost(self, item: Queued, now: float) -> None:
        if isinstance(item.token, bytes):
            self.delivery.lost(item.token, now)

    def _trace(self, came: bytes, fate: Fate, after: bytes, now: float) -> None:
        if self._tracer is not None:
            following = packet_id(after) if after else b""
            self._tracer(Opened(now, self._me, packet_id(came), fate, following))
