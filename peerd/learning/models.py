"""The model of one peer from round to round: what it sends of an update, and what an aggregate makes of it.

Values that travel are models, or with deltas the change since the *base*, the last aggregate:

    models    next = aggregate(own, others)
    deltas    next = base + aggregate(own - base, others - their bases)

The own values count as the others see them, after encoding and decoding: so all peers that received all
fragments of a round compute the same model, to the bit, in every encoding.

With sparse encodings, what was not sent or rounded off is the *rest*, and is kept (error feedback): the next
training starts from base + rest, so what it ends with, less the base, has the rest in it. To train from the
base and add the rest to the delta, as is done with gradients, counts twice what a round of training finds
again by itself. Of a peer that goes the share a of the way to its optimum in a round and sends the share p
of its values, that leaves (1 - p) of a rest for the next round, and ours (1 - p)(1 - a). With random masks of
a tenth, six peers on digits-cnn had accuracy .49 .43 .21 .43 .91 in their first five rounds, and now .49 .86
.91 .91 .92. Statistics of batch normalisation are measured anew, not learned: there a = 1. The rest belongs
to this peer's past updates and to no base, so it outlives rounds that were jumped over; a restart loses it.

Deltas and who lacks what:

    closed incomplete   The model differs from the others' by what was missing, about one update divided by
                        the cohort for each lost fragment, and from now on so does the base. With models the
                        next round heals it; with deltas nothing in the rounds themselves does. So the others'
                        slices against drift are folded in, in turn; see `base`.
    listened            The deltas of others say nothing without the base that they are from: slices of it are
                        received for the same round. Slices that are missing stay unknown, the deltas of later
                        rounds are added to those that are known, and the peer listens on, contributing
                        nothing, until it knows all.
    jumped              As one that listened from the start: no slice is known any more.
    nobody contributes  There is nobody to ask: the own model is the base.
    came too late       After the last round no delta helps, nor does the next round's base: those who have
                        come to the end give the model itself, as what a further round would start from.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

from peerd.layout import Layout, spans
from peerd.learning.actions import SendModel
from peerd.learning.aggregation import Aggregator
from peerd.learning.base import Slices, against_drift, for_latecomers, for_newcomers
from peerd.learning.encoding import Encoding
from peerd.learning.fragment import Vector, frozen
from peerd.learning.pieces import Pieces
from peerd.types import SPARSE, RunSpec

LARGEST = np.finfo(np.float32).max


class Models:
    """`layout`: of the encoding; `slices`: how a base is cut. based: `initial` is what the others have."""

    def __init__(
        self,
        spec: RunSpec,
        layout: Layout,
        initial: Vector,
        *,
        encoding: Encoding,
        slices: Layout,
        based: bool,
        rng: random.Random,
    ) -> None:
        self.model = frozen(initial)
        """The last aggregate; before the first, the initial model. While an own update is exchanged that
        update, where nothing needs the aggregate any more: of a large model, each one counts."""
        self._slices = slices
        self._deltas = spec.deltas
        self._keeps_last = spec.deltas or spec.aggregator == "clipped-mean"
        self._sparse = spec.encoding in SPARSE
        self._layout = layout
        self._encoding = encoding
        self._rng = rng
        self._known = np.full(slices.fragments, based or not spec.deltas)
        self._rest: Vector | None = None
        self._values = frozen(initial)
        """What the present pieces are of."""
        self._pieces: Pieces | None = None

    @property
    def start(self) -> Vector:
        """What the next training starts from: the model, and what of past updates was not sent."""
        if self._rest is None:
            return self.model
        if self._pieces is not None:
            self._pieces.finish()
        start = np.add(self.model, self._rest)
        return frozen(np.clip(start, -LARGEST, LARGEST, out=start))

    @property
    def based(self) -> bool:
        """Whether the model is what the others have, so that own deltas from it make sense, and it can be
        given to who has none."""
        return bool(self._known.all())

    def based_with(self, received: Slices | None) -> bool:
        """Whether it will be, once those are folded in."""
        if received is None:
            return self.based
        return all(known or index in received for index, known in enumerate(self._known))

    def lose_base(self) -> None:
        """The others have gone on without this peer."""
        if self._deltas:
            self._known[:] = False

    def be_base(self) -> None:
        """There are no others."""
        self._known[:] = True

    def adopt(self, last: Slices) -> None:
        """The model is what others say who have come to the end of the run: all slices that are not known."""
        model = np.empty_like(self.model)
        for index in range(self._slices.fragments):
            where = self._slices.slice(index)
            model[where] = last.settled(index, self.model[where], known=False)
        self.model = frozen(model)
        self._known[:] = True

    def share_last(self, round: int, senders: int) -> SendModel | None:
        """What this peer, one of so many, gives of the last model of the run, the one that a further round
        would start from, to who has come too late for all of them."""
        if not self._deltas or not self.based:
            return None
        slices = for_latecomers(self._slices, senders, self._rng)
        return SendModel(round, self.model, self._slices, newcomers=slices)

    def share(self, round: int, senders: int, *, newcomers: bool, everyone: bool) -> SendModel | None:
        """What this peer, one of so many, gives of the model that a round starts from, if it has it and
        others may not."""
        if not self._deltas or not self.based:
            return None
        return SendModel(
            round,
            self.model,
            self._slices,
            newcomers=for_newcomers(self._slices, senders, self._rng) if newcomers else (),
            everyone=against_drift(self._slices, round, senders, self._rng) if everyone else (),
        )

    def begin(self, update: Vector) -> Pieces:
        """What is to be sent of what is trained from `start` and becomes final in `update`, shape
        (parameters,), bit by bit: nothing yet, see `add`."""
        if self._pieces is not None:
            self._pieces.finish()
        values = update
        if self._sparse:
            values = np.zeros_like(update) if self._rest is None else self._rest
            self._rest = values
        elif self._deltas:
            values = np.zeros_like(update)
        self._values = values
        pieces = Pieces(self._layout, self._encoding, values, self._rng, feedback=self._sparse)
        self._pieces = pieces if self._sparse else None
        return pieces

    def add(self, pieces: Pieces, update: Vector, indices: Iterable[int]) -> list[int]:
        """These fragments of the trained model are final and finite; returns those that were not before.
        What was final stays, even where `update`, trained a second time, has something else."""
        new = sorted(set(indices).difference(pieces.final))
        for where in spans(self._layout, new):
            values = self._values[where]
            if self._deltas:
                np.subtract(update[where], self.model[where], out=values)
                np.clip(values, -LARGEST, LARGEST, out=values)
            elif self._values is not update:
                values[:] = update[where]
        pieces.settle(new)
        if len(pieces.final) == len(pieces) and not self._keeps_last:
            self.model = frozen(self._values)  # stands in for what is missing, so the old one can go
        return new

    def close(self, aggregator: Aggregator, received: Slices | None, own: Pieces | None) -> None:
        """The round is over. own: None where this peer listened; received: slices of the round's base."""
        last = None if self._deltas else self.model
        result = aggregator.result(None if own is None else own.values, last)
        if self._deltas:
            self._add_base(result, received or Slices(self._slices))
        self.model = frozen(result)

    def _add_base(self, change: Vector, received: Slices) -> None:
        """Slice by slice, in place."""
        for index in range(self._slices.fragments):
            where = self._slices.slice(index)
            change[where] += received.settled(index, self.model[where], known=bool(self._known[index]))
            self._known[index] |= index in received
        np.clip(change, -LARGEST, LARGEST, out=change)
