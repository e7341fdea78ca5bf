"""Cover packets: loops, drops (Loopix, Piotrowska et al. 2017, 4.1) and dummies.

Drop cover is a message without payload and with a live SURB, answered like any other: an observer
who sees whether something is answered learns nothing. A loop measures the mixnet on its way.

A dummy fills a slot of a constant-rate strategy. It ends at the next peer and asks for no answer, so that
it costs no later slot of anybody: fillers that travelled on would make more work than the slots they fill,
and the load of the network would grow without bound. On the wire it is a packet like any other; only its
recipient, a direct neighbour, learns that this slot was empty.

Loops and drops are wrapped in advance, when there is nothing else to do, so that under load a cover packet
that is due costs no more than a look into the stock.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from dataclasses import dataclass

from peerd.config import MixingConfig
from peerd.delivery.events import Inject
from peerd.delivery.loops import LoopMonitor
from peerd.delivery.message import MESSAGE_ID_BYTES, Message, MessageCodec
from peerd.delivery.path import Directory, PathSelector, known_delay, mix_nodes
from peerd.mix import CoverRates, draw_exponential
from peerd.sphinx import Geometry, make_surb, wrap
from peerd.types import PacketKind, PeerId

REMEMBERED = 4096
"""SURBs of drop cover that are still waited for; the oldest are forgotten first."""
STOCK_SECONDS = 1.0
LARGEST_STOCK = 32
"""The stock of a kind covers so long a time, and is at most so large."""


@dataclass(frozen=True, slots=True)
class _Ready:
    inject: Inject
    via: frozenset[PeerId]


class Cover:
    """`make` always gives a packet if there is a path; `ready` says whether that is for nothing."""

    def __init__(
        self,
        me: PeerId,
        geometry: Geometry,
        codec: MessageCodec,
        paths: PathSelector,
        directory: Directory,
        loops: LoopMonitor,
        rng: random.Random,
    ) -> None:
        self._me = me
        self._geometry = geometry
        self._codec = codec
        self._paths = paths
        self._directory = directory
        self._loops = loops
        self._rng = rng
        self._surbs: OrderedDict[bytes, None] = OrderedDict()
        self._stock: dict[PacketKind, deque[_Ready]] = {PacketKind.LOOP: deque(), PacketKind.DROP: deque()}

    def make(self, kind: PacketKind, mixing: MixingConfig) -> Inject | None:
        """One cover packet of the kind (LOOP or DROP); None while too few peers are alive."""
        stock = self._stock[kind]
        ready = stock.popleft() if stock else self._wrap(kind, mixing)
        return None if ready is None else ready.inject

    def ready(self, kind: PacketKind) -> bool:
        """Whether one lies in stock."""
        return bool(self._stock[kind])

    def wants(self, rates: CoverRates) -> PacketKind | None:
        """Of which kind the stock is short, for these rates."""
        targets = {PacketKind.LOOP: rates.loop, PacketKind.DROP: rates.drop + rates.send}
        for kind, rate in targets.items():
            target = min(-(-rate * STOCK_SECONDS // 1), LARGEST_STOCK)
            if len(self._stock[kind]) < target:
                return kind
        return None

    def stock_up(self, kind: PacketKind, mixing: MixingConfig) -> bool:
        """Wrap one in advance; False while there is no path."""
        ready = self._wrap(kind, mixing)
        if ready is not None:
            self._stock[kind].append(ready)
        return ready is not None

    def discard_stock(self) -> None:
        """Hops, delays or keys have changed: what was wrapped before them would stand out or be lost."""
        for stock in self._stock.values():
            for ready in stock:
                if ready.inject.token is not None:
                    self._loops.unsent(ready.inject.token)
            stock.clear()

    def peer_died(self, peer: PeerId) -> None:
        for kind, stock in self._stock.items():
            self._stock[kind] = deque(ready for ready in stock if peer not in ready.via)

    def dummy(self) -> Inject | None:
        """One packet straight to a random neighbour, to be dropped there; None without neighbours."""
        others = list(self._directory.alive())
        path = self._paths.draw(self._me, self._rng.choice(others), 0, 0.0) if others else None
        if path is None:
            return None
        message = Message(self._rng.randbytes(MESSAGE_ID_BYTES), bytes(self._geometry.surb_bytes), b"")
        body = self._codec.encode(message)
        packet = wrap(self._geometry, path, body, randbytes=self._rng.randbytes)
        return Inject(packet, path[0].peer, PacketKind.DUMMY, 0.0)

    def replied(self, surb_id: bytes) -> bool:
        """Whether the reply answers our drop cover (its content does not matter)."""
        return self._surbs.pop(surb_id, self) is None

    def _wrap(self, kind: PacketKind, mixing: MixingConfig) -> _Ready | None:
        return self._loop(mixing) if kind is PacketKind.LOOP else self._drop(mixing)

    def _loop(self, mixing: MixingConfig) -> _Ready | None:
        mean = mixing.sender_delay_seconds
        path = self._paths.draw(self._me, self._me, mixing.path_hops, mean)
        if path is None:
            return None
        loop_id = self._rng.randbytes(MESSAGE_ID_BYTES)
        message = Message(loop_id, self._rng.randbytes(self._geometry.surb_bytes), b"")
        via = mix_nodes(path)
        self._loops.made(loop_id, via, known_delay(path) if mixing.delays_kept else 0.0)
        body = self._codec.encode(message)
        packet = wrap(self._geometry, path, body, randbytes=self._rng.randbytes)
        delay = draw_exponential(self._rng, mean)
        return _Ready(Inject(packet, path[0].peer, PacketKind.LOOP, delay, loop_id), via)

    def _drop(self, mixing: MixingConfig) -> _Ready | None:
        others = list(self._directory.alive())
        if not others:
            return None
        to, mean = self._rng.choice(others), mixing.sender_delay_seconds
        there = self._paths.draw(self._me, to, mixing.path_hops, mean)
        back = self._paths.draw(to, self._me, mixing.path_hops, mean)
        if there is None or back is None:
            return None
        surb, keys = make_surb(self._geometry, back, randbytes=self._rng.randbytes)
        self._surbs[keys.surb_id] = None
        if len(self._surbs) > REMEMBERED:
            self._surbs.popitem(last=False)
        message_id, ack_delay = self._rng.randbytes(MESSAGE_ID_BYTES), draw_exponential(self._rng, mean)
        message = Message(message_id, surb.to_bytes(), b"", ack_delay)
        body = self._codec.encode(message)
        packet = wrap(self._geometry, there, body, randbytes=self._rng.randbytes)
        delay = draw_exponential(self._rng, mean)
        inject = Inject(packet, there[0].peer, PacketKind.DROP, delay)
        return _Ready(inject, mix_nodes(there) | mix_nodes(back) | {to})
