"""Own messages on their way out and back: what a run gives to the mixnet, and what becomes of it.

A message id is a keyed hash of recipient, run, round and index. So what is sent again to the same peer, after
a partition or after a crash of this one, is taken once; without the key it is as random as any other.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from peerd.delivery import Event
from peerd.learning import Parcel
from peerd.observe import Tally
from peerd.relay import Mixnet, Pump
from peerd.types import DropReason, PeerId

MESSAGE_ID_BYTES = 16


class Post:
    """`secret`: 32 bytes that no restart changes. `on_events` takes what a cancellation tells of messages;
    `on_give_up` the round of one that did not reach somebody alive."""

    def __init__(
        self,
        secret: bytes,
        mixnet: Mixnet,
        pump: Pump,
        *,
        rng: random.Random,
        tally: Tally,
        log: Any,
        on_events: Callable[[list[Event]], None],
        on_give_up: Callable[[int], None],
    ) -> None:
        self._secret = secret
        self._mixnet = mixnet
        self._pump = pump
        self._rng = rng
        self._tally = tally
        self._log = log
        self._on_events = on_events
        self._on_give_up = on_give_up

    @property
    def payload_bytes(self) -> int:
        """The longest payload of a message."""
        return self._mixnet.delivery.payload_bytes

    def send(self, dealt: Iterable[tuple[PeerId, Sequence[Parcel]]], round_number: int) -> None:
        """To each peer its parcels, in one random order over all of them; payloads are made as they go."""
        letters = [(peer, parcel) for peer, parcels in dealt for parcel in parcels]
        self._rng.shuffle(letters)
        for peer, parcel in letters:
            message_id = self._message_id(peer, parcel.place)
            refused = self._pump.send(peer, parcel.make, round_number, message_id)
            if refused is not None:
                self.gave_up(round_number, refused)

    def cancel(self, before: int | None) -> None:
        """Forget messages of earlier rounds; None: of all."""
        self._on_events(self._mixnet.delivery.cancel(lambda _peer, number: before is None or number < before))

    def gave_up(self, round_number: int, reason: DropReason) -> None:
        """A message ends unacknowledged, for this reason."""
        self._tally.dropped(reason)
        if reason is DropReason.GAVE_UP:
            self._tally.gave_up += 1
            self._log.warning("gave up on a message", round=round_number)
            self._on_give_up(round_number)

    def _message_id(self, peer: PeerId, place: bytes) -> bytes:
        return hashlib.blake2b(place + peer, key=self._secret, digest_size=MESSAGE_ID_BYTES).digest()
