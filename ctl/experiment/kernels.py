"""How likely a mix node makes this output from that input: the strategies' published rules, in numbers.

Two families. With a *delay* (exponential, outbox, none) the weight of input i for output j is the density of
the time between them. With *batches* (threshold, timed, pool) a flush shows as outputs at one moment; what
came before it may be in it, and of a pool the older the less (Serjantov, Dingledine and Syverson, "From a
Trickle to a Flood", 2002). The parameters are public (Kerckhoffs).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ctl.experiment.observation import Floats, Ints
from peerd.config import MixingConfig

REACH = 10.0
"""Delays beyond so many means are left out: 5 in 100,000 of them."""


@dataclass(frozen=True)
class Timing:
    """How exact the watched clock is, in seconds."""

    processing: tuple[float, ...] = (1e-4,)
    """Seconds that a mix node needs besides its strategy: means of a mixture of exponentials."""
    together: float = 1e-6
    """Outputs not further apart than this are of one flush."""
    late: float = 0.0
    """Share of packets that came before a flush and are processed after it."""


class Kernel(Protocol):
    """Of one node, with J outputs and I inputs, both sorted by time."""

    first: Ints
    last: Ints
    """(J,): output j can only be made from inputs first[j] <= i < last[j]; both never fall."""
    per_second: Floats
    """(J,): seconds of own sending that an output stands for: 1 for densities, a flush's interval."""
    survival: Floats
    """(I,): the share of an input's weight that lies beyond the end of what was watched."""
    flush: Ints | None
    """(J,): the number of the output's flush, from 0, where there are flushes."""
    smoothing: float
    """Seconds over which the rate of own sending can hardly change unseen."""

    def block(self, outputs: slice, inputs: slice) -> Floats:
        """Weights, (outputs, inputs): of a kept input to be this output (density or probability)."""


class DelayKernel:
    """A mixture of exponential delays: `means` in seconds, `shares` add up to 1 (none: all alike)."""

    def __init__(
        self,
        out_at: Floats,
        in_at: Floats,
        ends_at: float,
        means: tuple[float, ...],
        shares: tuple[float, ...],
    ) -> None:
        self._out, self._in = out_at, in_at
        self.flush: Ints | None = None
        shares = shares or (1.0 / len(means),) * len(means)
        self._parts = tuple(zip(means, shares, strict=True))
        reach = REACH * max(means)
        self.first = np.searchsorted(in_at, out_at - reach, side="left")
        self.last = np.searchsorted(in_at, out_at, side="right")
        self.per_second = np.ones(len(out_at))
        rest = np.maximum(ends_at - in_at, 0.0)
        self.survival = np.asarray(
            sum(share * np.exp(-rest / mean) for mean, share in self._parts)
        ) * np.ones(len(in_at))
        self.smoothing = min(means)

    @property
    def parts(self) -> int:
        return len(self._parts)

    def responsible(self, outputs: slice, inputs: slice) -> Floats:
        """(parts, outputs, inputs): probability that a pair's delay is of each part of the mixture."""
        held = np.maximum(self._out[outputs, None] - self._in[None, inputs], 0.0)
        each = np.stack([share / mean * np.exp(-held / mean) for mean, share in self._parts])
        found: Floats = each / np.maximum(each.sum(axis=0), 1e-300)
        return found

    def block(self, outputs: slice, inputs: slice) -> Floats:
        delay = self._out[outputs, None] - self._in[None, inputs]
        held = np.maximum(delay, 0.0)
        density = np.asarray(sum(share / mean * np.exp(-held / mean) for mean, share in self._parts))
        return np.where(delay >= 0.0, density, 0.0)


class BatchKernel:
    """`leaving(size of a flush)` is the probability that a packet inside leaves with it."""

    def __init__(
        self, out_at: Floats, in_at: Floats, timing: Timing, leaving: Floats | None, group: Ints, most: float
    ) -> None:
        """`group`: the flush of each output, from 0; `leaving`: by flush, None for all of it; `most`:
        seconds that a flush looks back at most, for own sending."""
        flushes = int(group[-1]) + 1 if len(group) else 0
        starts = np.searchsorted(group, np.arange(flushes))
        at = out_at[starts] if flushes else np.zeros(0)
        self._group = group
        self.flush: Ints | None = group
        slack = timing.together
        # The first flush that may hold an input: the first that is not before its arrival.
        self._since = np.searchsorted(at, in_at - slack, side="left")
        share = np.full(flushes, 1.0 - timing.late) if leaving is None else np.clip(leaving, 1e-3, 1.0)
        with np.errstate(divide="ignore"):
            stays = np.maximum(np.log1p(-share), -50.0)
        self._log_share = np.log(share)
        self._clock = np.concatenate([[0.0], np.cumsum(stays)])  # log of what is left before flush b
        oldest = np.searchsorted(-self._clock, -self._clock[:-1] - REACH, side="left")
        oldest = np.maximum.accumulate(np.minimum(oldest, np.arange(flushes)))
        self.first = np.searchsorted(self._since, oldest[group], side="left") if flushes else group
        if (
            leaving is None and flushes and not timing.late
        ):  # everything leaves with the next flush, which is not far
            soonest = np.searchsorted(in_at, at - most - slack, side="left")
            self.first = np.maximum(self.first, soonest[group])
        self.last = np.searchsorted(self._since, group, side="right")
        gaps = np.diff(at, prepend=at[0] - most) if flushes else np.zeros(0)
        self.per_second = np.clip(gaps, 1e-6, most)[group] if flushes else np.zeros(0)
        self.survival = np.exp(self._clock[-1] - self._clock[np.minimum(self._since, flushes)])
        self.smoothing = 0.0

    def block(self, outputs: slice, inputs: slice) -> Floats:
        flush, since = self._group[outputs, None], self._since[None, inputs]
        kept = self._clock[flush] - self._clock[np.minimum(since, flush)]
        place = np.arange(inputs.start, inputs.stop)
        inside = (self.first[outputs, None] <= place) & (place < self.last[outputs, None])
        return np.where(inside, np.exp(kept + self._log_share[flush]), 0.0)


def make_kernel(
    mixing: MixingConfig,
    timing: Timing,
    out_at: Floats,
    in_at: Floats,
    ends_at: float,
    shares: tuple[float, ...] = (),
) -> Kernel:
    """The kernel of a node: `out_at` (J,), `in_at` (I,) in seconds, both sorted. `shares` of a mixture of
    delays, where better ones are known than a guess."""
    match mixing.strategy:
        case "exponential":
            mean = max(mixing.mean_delay_seconds, *timing.processing)
            return DelayKernel(out_at, in_at, ends_at, (mean,), shares)
        case "outbox":
            box = mixing.outbox_size * mixing.outbox_interval_seconds
            # A full box queues, and nobody sees when: a share waits longer.
            return DelayKernel(out_at, in_at, ends_at, (box, 4.0 * box), shares or (0.8, 0.2))
        case "none":
            return DelayKernel(out_at, in_at, ends_at, timing.processing, shares)
        case "timed":
            group = flushes(out_at, timing.together)
            return BatchKernel(out_at, in_at, timing, None, group, mixing.timed_interval_seconds)
        case "threshold":
            group = flushes(out_at, timing.together)
            patience = mixing.threshold_patience_seconds or math.inf
            return BatchKernel(out_at, in_at, timing, None, group, min(patience, 3600.0))
        case "pool":
            group = flushes(out_at, timing.together)
            gone = np.bincount(group)
            held = np.maximum(gone / mixing.pool_rate, gone + mixing.pool_minimum)
            return BatchKernel(out_at, in_at, timing, gone / held, group, mixing.pool_interval_seconds)


def flushes(out_at: Floats, together: float) -> Ints:
    """(J,): the number of each output's flush, from 0: what leaves at one moment."""
    return np.cumsum(np.diff(out_at, prepend=out_at[:1]) > together)
