"""Some values of an index; what is not sent counts as zero, so what is sent are deltas.

An index owns a span of the model, known to everybody, wider than what fits; of its n values exactly
K(n) = as many as the packet has room for are sent, each in half a byte (`nibbles`).

    top-k         positions | values     the K largest by magnitude (Stich et al. 2018). Positions are a
                  bitmap of n bits, or K offsets of 2 bytes, whichever leaves room for more values
    random-mask   seed | values          K drawn by the seed: one in each of K equal strata of the span, so
                  that the seed stands for all positions, and a seed that is a lie can only choose among
                  proper masks

What was not sent, or rounded off, stays with the sender and goes into a later delta: error feedback
(Karimireddy et al. 2019, "Error feedback fixes SignSGD"), without which top-k does not converge. How is in
`learning.models`. The values are not scaled up by n/K: with error feedback that would count them twice.

Half a byte a value and not one: in the same packet it sends nearly twice as many. What is measured and not
learned (batch normalisation's statistics, at the end of the vector) is exact and in fragments of its own: a
variance is a small difference of two of them. With them in half bytes, and 58 % of the values, six peers on
MNIST had accuracy .44 .10 .51 .11 in four rounds of 1,000 samples, and .46 .63 .74 .79 with them exact (.49
.64 .74 .81 when everything was).

What a mask tells. Both choose positions without regard to who sends. Random masks are drawn from fresh
randomness for every fragment and round and say nothing of each other. Positions of top-k are content:
where a peer's updates are large round after round links its fragments like its values do, rather more so.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.learning.encoding import nibbles
from peerd.learning.encoding.dense import filled, with_exact
from peerd.learning.fragment import Data, Vector
from peerd.types import DropReason

OFFSET_BYTES = 2
WIDEST = 1 << 16
"""Values of a span that offsets of two bytes reach."""
SEED_BYTES = 16

Positions = NDArray[np.int64]


def even_layout(parameters: int, span: int) -> Layout:
    """As many fragments as spans of that width need, and all of them equally wide, but the last."""
    fragments = -(-parameters // min(span, parameters))
    return Layout(parameters, -(-parameters // fragments))


def _spread(data: bytes, positions: Positions, length: int) -> Vector | DropReason:
    """Values at their positions, zero elsewhere."""
    values = nibbles.unpack(data, len(positions))
    if isinstance(values, DropReason):
        return values
    whole = np.zeros(length, np.float32)
    whole[positions] = values
    return whole


@dataclass(frozen=True, slots=True)
class TopK:
    room: int
    density: float

    @property
    def lossless(self) -> bool:
        return False

    def layout(self, parameters: int, exact: int = 0) -> Layout:
        """Spans as wide as they can be with `density` of their values in a packet."""
        if self.room < OFFSET_BYTES + nibbles.LEAST_BYTES:
            raise ValueError("a payload that small has no room for a fragment")
        by_bitmap = int(self.room / (1 / 8 + nibbles.VALUE_BYTES * self.density))
        by_offsets = int(self.room / ((nibbles.VALUE_BYTES + OFFSET_BYTES) * self.density))
        span = max(1, min(max(by_bitmap, by_offsets), WIDEST))
        exact = filled(exact, parameters, self.room)
        return with_exact(even_layout(parameters - exact, span), exact, self.room)

    def _kept(self, length: int) -> tuple[int, bool]:
        """How many of `length` values are sent, and whether a bitmap says which."""
        by_bitmap = min(length, nibbles.most(self.room - -(-length // 8)))
        by_offsets = min(length, self._by_offsets())
        return max(by_bitmap, by_offsets), by_bitmap >= by_offsets

    def _by_offsets(self) -> int:
        """As many values as fit with an offset each."""
        buckets, left = divmod(self.room, nibbles.FULL_BYTES + nibbles.BUCKET * OFFSET_BYTES)
        more = int(max(left - nibbles.SCALE_BYTES, 0) / (OFFSET_BYTES + 0.5))
        while OFFSET_BYTES * more + nibbles.bytes_of(more) > left:
            more -= 1
        return nibbles.BUCKET * buckets + more

    def encode(self, values: Vector, rng: random.Random) -> Data:
        kept, bitmap = self._kept(len(values))
        order = np.argpartition(np.abs(values), len(values) - kept)
        positions = np.sort(order[len(values) - kept :])
        if bitmap:
            bits = np.zeros(len(values), np.bool_)
            bits[positions] = True
            where = np.packbits(bits, bitorder="little").tobytes()
        else:
            where = positions.astype("<u2").tobytes()
        return bytes(where + nibbles.pack(values[positions]))

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        kept, bitmap = self._kept(length)
        where_bytes = -(-length // 8) if bitmap else OFFSET_BYTES * kept
        if len(data) != where_bytes + nibbles.bytes_of(kept):
            return DropReason.BAD_FRAGMENT
        where, values = data[:where_bytes], data[where_bytes:]
        positions = _from_bitmap(where, length) if bitmap else _from_offsets(where, length)
        if positions is None or len(positions) != kept:
            return DropReason.BAD_FRAGMENT
        return _spread(values, positions, length)


def _from_bitmap(where: bytes, length: int) -> Positions | None:
    """None where a bit beyond the span is set."""
    bits = np.unpackbits(np.frombuffer(where, np.uint8), bitorder="little")
    return None if bits[length:].any() else np.flatnonzero(bits)


def _from_offsets(where: bytes, length: int) -> Positions | None:
    """None unless they are in order, different, and in the span."""
    positions = np.frombuffer(where, "<u2").astype(np.int64)
    good = positions[-1] < length and bool((np.diff(positions) > 0).all())
    return positions if good else None


@dataclass(frozen=True, slots=True)
class RandomMask:
    room: int
    density: float

    @property
    def lossless(self) -> bool:
        return False

    def layout(self, parameters: int, exact: int = 0) -> Layout:
        if self.room < SEED_BYTES + nibbles.LEAST_BYTES:
            raise ValueError("a payload that small has no room for a fragment")
        span = max(1, int(self._most / self.density))
        exact = filled(exact, parameters, self.room)
        return with_exact(even_layout(parameters - exact, span), exact, self.room)

    @property
    def _most(self) -> int:
        return nibbles.most(self.room - SEED_BYTES)

    def encode(self, values: Vector, rng: random.Random) -> Data:
        seed = rng.randbytes(SEED_BYTES)
        return seed + nibbles.pack(values[_mask(seed, min(len(values), self._most), len(values))])

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        kept = min(length, self._most)
        if len(data) != SEED_BYTES + nibbles.bytes_of(kept):
            return DropReason.BAD_FRAGMENT
        return _spread(data[SEED_BYTES:], _mask(data[:SEED_BYTES], kept, length), length)


def _mask(seed: bytes, kept: int, length: int) -> Positions:
    """One position in each of `kept` strata, by SHAKE-128: the same on every machine and in every version,
    which NumPy's generators do not promise. Different and in order by construction, shape (kept,)."""
    drawn = np.frombuffer(hashlib.shake_128(seed).digest(4 * kept), "<u4").astype(np.int64)
    edges = np.arange(kept + 1, dtype=np.int64) * length // kept
    return edges[:-1] + (drawn * np.diff(edges) >> 32)
