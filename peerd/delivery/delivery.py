"""Delivery joined: sender, receiver and cover behind one small surface."""

from __future__ import annotations

import random
from collections.abc import Callable

from peerd.config import DeliveryConfig, MixingConfig
from peerd.delivery.cover import Cover
from peerd.delivery.events import Dropped, Event, Inject
from peerd.delivery.message import Message, MessageCodec
from peerd.delivery.path import Directory, PathSelector
from peerd.delivery.receiver import Receiver
from peerd.delivery.sender import Sender
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
        self._codec = MessageCodec(geometry)
        self._sender = Sender(me, geometry, config, mixing, paths, rng)
        self._receiver = Receiver(geometry, self._codec, config.dedup_limit, rng)
        self._cover = Cover(me, geometry, self._codec, paths, directory, rng)

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

    def reconfigure(self, mixing: MixingConfig) -> None:
        """Paths, delays and hops of everything wrapped from now on."""
        self._sender.mixing = mixing

    def send(self, to: PeerId, payload: bytes, tag: int) -> DropReason | None:
        """Queue a message for a peer; its `tag` comes back in `Acked` or `GaveUp`."""
        return self._sender.send(to, payload, tag)

    def work(self, now: float) -> list[Event]:
        return self._sender.work(now)

    def next_deadline(self, now: float) -> float | None:
        return self._sender.next_deadline(now)

    def departed(self, token: bytes, now: float) -> None:
        self._sender.departed(token, now)

    def lost(self, token: bytes, now: float) -> None:
        self._sender.lost(token, now)

    def received(self, body: bytes, now: float) -> list[Event]:
        """A body that the relay unwrapped for us."""
        message = self._codec.decode(body)
        if not isinstance(message, Message):
            return [Dropped(message)]
        loop = self._cover.returned(message.message_id, now)
        if loop is not None:
            return [loop]
        if self._codec.is_dummy(message):
            return []
        return self._receiver.receive(message, self._sender.mixing)

    def replied(self, surb_id: bytes, body: bytes, now: float) -> list[Event]:
        """A SURB reply that came home."""
        event = self._sender.replied(surb_id, body, now)
        if event is not None:
            return [event]
        if self._cover.replied(surb_id):
            return []
        return [Dropped(DropReason.UNKNOWN_SURB)]

    def cover(self, kind: PacketKind, now: float) -> Inject | None:
        return self._cover.make(kind, self._sender.mixing, now)

    def dummy(self) -> Inject | None:
        """What fills an empty slot of a constant-rate strategy."""
        return self._cover.dummy()

    def peer_died(self, peer: PeerId, now: float) -> list[Event]:
        return self._sender.peer_died(peer, now)

    def cancel(self, matches: Callable[[PeerId, int], bool]) -> list[Event]:
        return self._sender.cancel(matches)
