"""Delivery joined: sender, receiver, cover and loops behind one small surface."""

from __future__ import annotations

import random
from collections.abc import Callable

from peerd.clock import earliest
from peerd.config import DeliveryConfig, MixingConfig
from peerd.delivery.cover import Cover
from peerd.delivery.events import Dropped, Event, Inject
from peerd.delivery.loops import LoopMonitor
from peerd.delivery.message import Message, MessageCodec
from peerd.delivery.path import Directory, PathSelector
from peerd.delivery.receiver import Receiver
from peerd.delivery.sender import Payload, Sender
from peerd.mix import CoverRates
from peerd.sphinx import Geometry
from peerd.types import DropReason, PacketKind, PeerId


class Delivery:
    """One peer's end of the mixnet. Sans-IO: bytes, `now` and randomness in, events out."""

    def __init__(
        self,
        me: PeerId,
        geometry: Geometry,
        config: DeliveryConfig,
        mixing: MixingConfig,
        directory: Directory,
        rng: random.Random,
    ) -> None:
        paths = PathSelector(directory, rng)
        self._mixing = mixing
        self._codec = MessageCodec(geometry)
        self._sender = Sender(me, geometry, config, mixing, paths, rng)
        self._receiver = Receiver(geometry, self._codec, config.dedup_limit)
        self.loops = LoopMonitor(mixing.loop_alarm_loss)
        self._cover = Cover(me, geometry, self._codec, paths, directory, self.loops, rng)

    @property
    def payload_bytes(self) -> int:
        """The longest payload of a message."""
        return self._codec.payload_bytes

    @property
    def queued(self) -> int:
        return self._sender.queued

    @property
    def in_flight(self) -> int:
        return self._sender.in_flight

    @property
    def queue_limit(self) -> int:
        """Messages that may wait to be sent."""
        return self._sender.queue_limit

    @property
    def max_in_flight(self) -> int:
        """Messages that may wait for an acknowledgement, at most."""
        return self._sender.max_in_flight

    def reconfigure(self, mixing: MixingConfig) -> None:
        """Paths, delays and hops of everything wrapped from now on."""
        self._mixing = self._sender.mixing = mixing
        self.loops.alarm_loss = mixing.loop_alarm_loss
        if mixing.direct or not mixing.loop_rate_per_second:
            self.loops.reset()
        self._cover.discard_stock()

    def set_config(self, config: DeliveryConfig) -> None:
        """Limits and timeouts from now on; nothing that is under way is lost."""
        self._sender.set_config(config)
        self._receiver.set_limit(config.dedup_limit)

    def keys_changed(self) -> None:
        """A new epoch has begun: what is wrapped already is for the keys of the last one."""
        self._cover.discard_stock()

    def send(
        self, to: PeerId, payload: Payload, tag: int, message_id: bytes | None = None
    ) -> DropReason | None:
        """Queue a message for a peer; its `tag` comes back in `Acked` or `GaveUp`."""
        return self._sender.send(to, payload, tag, message_id)

    def work(self, now: float) -> list[Event]:
        """What is due: resends, lost loops; and new attempts, unless sending is shaped."""
        return self._sender.work(now) + self.loops.expire(now)

    def next_deadline(self, now: float) -> float | None:
        return earliest(self._sender.next_deadline(now), self.loops.next_deadline())

    def departed(self, token: bytes, now: float) -> None:
        self._sender.departed(token, now)
        self.loops.departed(token, now)

    def lost(self, token: bytes, now: float) -> None:
        self._sender.lost(token, now)
        self.loops.unsent(token)

    def received(self, body: bytes, now: float) -> list[Event]:
        """A body that the relay unwrapped for us."""
        message = self._codec.decode(body)
        if not isinstance(message, Message):
            return [Dropped(message)]
        loop = self.loops.returned(message.message_id, now)
        if loop is not None:
            return [loop]
        if self._codec.is_dummy(message) or self.loops.was_given_up(message.message_id):
            return []
        return self._receiver.receive(message, self._mixing)

    def replied(self, surb_id: bytes, body: bytes, now: float) -> list[Event]:
        """A SURB reply that came home."""
        event = self._sender.replied(surb_id, body, now)
        if event is not None:
            return [event]
        if self._cover.replied(surb_id):
            return []
        return [Dropped(DropReason.UNKNOWN_SURB)]

    def next_own(self, now: float) -> Inject | None:
        """The own message for a sending slot; None where there is none to send now."""
        return self._sender.next_attempt(now)

    def cover(self, kind: PacketKind) -> Inject | None:
        """LOOP or DROP, from stock if there is one."""
        return self._cover.make(kind, self._mixing)

    def has_cover(self, kind: PacketKind) -> bool:
        return self._cover.ready(kind)

    def cover_wanted(self, rates: CoverRates) -> PacketKind | None:
        """Of which kind to wrap one in advance, when there is time."""
        return self._cover.wants(rates)

    def stock_up(self, kind: PacketKind) -> bool:
        return self._cover.stock_up(kind, self._mixing)

    def dummy(self) -> Inject | None:
        """What fills an empty slot of a constant-rate strategy."""
        return self._cover.dummy()

    def peer_left(self, peer: PeerId) -> list[Event]:
        """What was meant for it is dropped; what goes through it still arrives."""
        self._cover.peer_died(peer)
        return self._sender.cancel(lambda to, _tag: to == peer, DropReason.PEER_DEAD)

    def peer_died(self, peer: PeerId, now: float) -> list[Event]:
        self._cover.peer_died(peer)
        self.loops.peer_died(peer)
        return self._sender.peer_died(peer, now)

    def cancel(self, matches: Callable[[PeerId, int], bool]) -> list[Event]:
        return self._sender.cancel(matches)
