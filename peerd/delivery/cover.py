"""Cover packets: loops, drops (Loopix, Piotrowska et al. 2017, 4.1) and dummies.

Drop cover is a message without payload and with a live SURB, answered like any other: an observer
who sees whether something is answered learns nothing. A loop measures the mixnet on its way.

A dummy fills a slot of a constant-rate strategy. It ends at the next peer and asks for no answer, so that
it costs no later slot of anybody: fillers that travelled on would make more work than the slots they fill,
and the load of the network would grow without bound. On the wire it is a packet like any other; only its
recipient, a direct neighbour, learns that this slot was empty.
"""

from __future__ import annotations

import random
from collections import OrderedDict

from peerd.config import MixingConfig
from peerd.delivery.events import Inject, LoopReturned
from peerd.delivery.message import MESSAGE_ID_BYTES, Message, MessageCodec
from peerd.delivery.path import Directory, PathSelector
from peerd.mix import draw_exponential
from peerd.sphinx import Geometry, make_surb, wrap
from peerd.types import PacketKind, PeerId

REMEMBERED = 4096
"""Loops and cover SURBs that are still waited for; the oldest are forgotten first."""


class Cover:
    def __init__(
        self,
        me: PeerId,
        geometry: Geometry,
        codec: MessageCodec,
        paths: PathSelector,
        directory: Directory,
        rng: random.Random,
    ) -> None:
        self._me = me
        self._geometry = geometry
        self._codec = codec
        self._paths = paths
        self._directory = directory
        self._rng = rng
        self._loops: OrderedDict[bytes, float] = OrderedDict()
        self._surbs: OrderedDict[bytes, None] = OrderedDict()

    def make(self, kind: PacketKind, mixing: MixingConfig, now: float) -> Inject | None:
        """One cover packet of the kind (LOOP or DROP); None while too few peers are alive."""
        mean = mixing.mean_delay_seconds if mixing.strategy == "exponential" else 0.0
        return self._loop(mixing, mean, now) if kind is PacketKind.LOOP else self._drop(mixing, mean)

    def _loop(self, mixing: MixingConfig, mean: float, now: float) -> Inject | None:
        path = self._paths.draw(self._me, self._me, mixing.hops, mean)
        if path is None:
            return None
        message_id = self._rng.randbytes(MESSAGE_ID_BYTES)
        message = Message(message_id, self._rng.randbytes(self._geometry.surb_bytes), b"")
        self._loops[message_id] = now
        if len(self._loops) > REMEMBERED:
            self._loops.popitem(last=False)
        packet = wrap(self._geometry, path, self._codec.encode(message))
        return Inject(packet, path[0].peer, PacketKind.LOOP, draw_exponential(self._rng, mean))

    def _drop(self, mixing: MixingConfig, mean: float) -> Inject | None:
        others = list(self._directory.alive())
        if not others:
            return None
        to = self._rng.choice(others)
        there = self._paths.draw(self._me, to, mixing.hops, mean)
        back = self._paths.draw(to, self._me, mixing.hops, mean)
        if there is None or back is None:
            return None
        surb, keys = make_surb(self._geometry, back)
        self._surbs[keys.surb_id] = None
        if len(self._surbs) > REMEMBERED:
            self._surbs.popitem(last=False)
        message = Message(self._rng.randbytes(MESSAGE_ID_BYTES), surb.to_bytes(), b"")
        packet = wrap(self._geometry, there, self._codec.encode(message))
        return Inject(packet, there[0].peer, PacketKind.DROP, draw_exponential(self._rng, mean))

    def dummy(self) -> Inject | None:
        """One packet straight to a random neighbour, to be dropped there; None without neighbours."""
        others = list(self._directory.alive())
        path = self._paths.draw(self._me, self._rng.choice(others), 0, 0.0) if others else None
        if path is None:
            return None
        message = Message(self._rng.randbytes(MESSAGE_ID_BYTES), bytes(self._geometry.surb_bytes), b"")
        packet = wrap(self._geometry, path, self._codec.encode(message))
        return Inject(packet, path[0].peer, PacketKind.DUMMY, 0.0)

    def returned(self, message_id: bytes, now: float) -> LoopReturned | None:
        """A message that may be one of our loops."""
        started = self._loops.pop(message_id, None)
        return None if started is None else LoopReturned(now - started)

    def replied(self, surb_id: bytes) -> bool:
        """Whether the reply answers our drop cover (its content does not matter)."""
        return self._surbs.pop(surb_id, self) is None
