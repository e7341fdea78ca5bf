"""Whom the fragments of a run go to: the mixnet, as a run sees it. Sans-IO.

What is said once goes to those who are there; who appears later gets it then (`meet`), and alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peerd.learning import Dealer, FragmentSink, Parcel, copies_of_each, least_part
from peerd.membership import View
from peerd.types import PeerId, RunSpec

Send = Callable[[Iterable[tuple[PeerId, Sequence[Parcel]]], int], None]
"""To each peer its parcels, all of one round."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Who takes part in the run, at one moment."""

    contributes_from: tuple[int, ...]
    """One number each, see `View.taking_part`."""
    together: frozenset[PeerId]
    """Those that can be sent to."""
    listening: frozenset[PeerId]
    """Of these, the ones that have not said from when on they contribute."""


class Addressing(FragmentSink):
    """One run's. Sends to nobody before it has met somebody. `cancel`: messages of rounds before that one."""

    def __init__(
        self,
        spec: RunSpec,
        view: View,
        rng: random.Random,
        *,
        send: Send,
        cancel: Callable[[int], None],
    ) -> None:
        self._spec = spec
        self._view = view
        self._send = send
        self._cancel = cancel
        self._dealer = Dealer(rng)
        self._together: frozenset[PeerId] = frozenset()
        self._listening: frozenset[PeerId] = frozenset()
        self.model = b""
        """Of which form this peer's is; who has another is left out. Empty: not known yet."""

    def look(self) -> Seen:
        others = self._others()
        alive = frozenset(self._view.alive())
        return Seen(
            tuple(first for _, first in others),
            frozenset(peer for peer, _ in others) & alive,
            frozenset(peer for peer, first in others if not first) & alive,
        )

    def meet(self, seen: Seen) -> list[PeerId]:
        """Send to these from now on. Returns whom the present round's fragments have not reached: who was not
        there before; and who fell behind, where it has lost the model that deltas are from."""
        appeared = seen.together - self._together
        if self._spec.deltas:
            appeared |= seen.listening - self._listening
        self._together, self._listening = seen.together, seen.listening
        return sorted(appeared)

    def broadcast(self, round_number: int, parcels: Sequence[Parcel], of: int) -> None:
        gone = {peer for peer, first in self._others() if 0 < -first < round_number}  # finished before it
        peers = sorted(self._together - gone)
        copies = copies_of_each(self._spec, len(peers))
        self._send(self._dealer.deal(round_number, peers, parcels, of, copies), round_number)

    def deal_in(self, peer: PeerId, round_number: int, parcels: Sequence[Parcel], of: int) -> None:
        others = len(self._together)
        part = least_part(of, others, copies_of_each(self._spec, others))
        self._send([(peer, self._dealer.deal_in(round_number, peer, parcels, part))], round_number)

    def send_to(self, peer: PeerId, round_number: int, parcels: Sequence[Parcel]) -> None:
        self._send([(peer, parcels)], round_number)

    def send_to_listeners(self, round_number: int, parcels: Sequence[Parcel]) -> None:
        peers = [
            peer
            for peer, first in self._others()
            if peer in self._together and (not first or first > round_number)
        ]
        self._send([(peer, parcels) for peer in peers], round_number)

    def forget_before(self, round_number: int) -> None:
        self._cancel(round_number)

    def _others(self) -> list[tuple[PeerId, int]]:
        return self._view.taking_part(self._spec.id_bytes, self.model)
