"""Which input of a mix node became which output: a probability for every pair, of one node.

Every output was made from one input or originated there, every input became one output or ended there. Over
all assignments that keep this, the likelihood is a product of the kernel's weights, of p for an input that
ends, and of the rate of own sending for an output that originates. The marginals of that distribution are
permanents; they are approximated by balancing rows and columns (Sinkhorn), the usual mean-field answer to the
Bayesian traffic analysis of Troncoso and Danezis ("The Bayesian traffic analysis of mix networks", 2009).

The rate of own sending is not known: it is estimated at the same time (EM), from what balancing leaves
unexplained. So an excess of outputs over inputs, such as the burst after training, shows as origination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ctl.experiment.kernels import DelayKernel, Kernel
from ctl.experiment.observation import NOWHERE, Bools, Floats, Ints

Weights = npt.NDArray[np.float32]
Look = Callable[[slice | Ints], Weights]
"""The weights (n, some) of n packets on some of a node's inputs or outputs."""
Part = tuple[slice | Ints, Weights]
"""Some of a node's inputs or outputs, each once, and what is to be added to the weights (n, some) on them."""
LEAST = 0.1
"""Of what originates at any time, at least so much may be messages."""
BLOCK = 128
"""Outputs that are handled at a time."""
ROUNDS = 40
"""Of balancing and estimating."""
NEIGHBOURS = 4
"""The rate of own sending is smoothed over so many outputs on either side, at least."""
ANSWERED = 0.5
"""Of what ends at a peer, the share that it answers: the rest are answers."""
PRIOR_OUTPUTS = 2.0
"""The prior share of own sending weighs like so many outputs."""


class Match(Protocol):
    """J outputs and I inputs of one node."""

    @property
    def originated(self) -> Floats:
        """(J,): probability that the output originated here."""

    @property
    def message(self) -> Floats:
        """(J,): probability that it did and is a message, neither an acknowledgement nor a loop."""

    @property
    def ended(self) -> Floats:
        """(I,): probability that the input ended here."""

    def back(self, outputs: Look, touched: Bools) -> Iterator[Part]:
        """What of the weights on outputs came from which inputs. `touched` (J,): where there are any."""

    def forth(self, inputs: Look, touched: Bools) -> Iterator[Part]:
        """What of the weights on inputs went to which outputs. `touched` (I,): where there are any."""


@dataclass(frozen=True)
class ExactMatch:
    """A node of the adversary's own: it remembers."""

    parent: Ints
    """(J,): the input, or NOWHERE."""
    originated: Floats
    message: Floats
    ended: Floats

    @classmethod
    def of(cls, parent: Ints, inputs: int) -> ExactMatch:
        known = parent != NOWHERE
        ended = np.ones(inputs)
        ended[parent[known]] = 0.0
        return cls(parent, (~known).astype(float), (~known).astype(float), ended)

    def back(self, outputs: Look, touched: Bools) -> Iterator[Part]:
        known = np.flatnonzero((self.parent != NOWHERE) & touched)
        yield self.parent[known], outputs(known)

    def forth(self, inputs: Look, touched: Bools) -> Iterator[Part]:
        known = np.flatnonzero(self.parent != NOWHERE)
        known = known[touched[self.parent[known]]]
        yield known, inputs(self.parent[known])


@dataclass(frozen=True)
class _Block:
    outputs: slice
    inputs: slice
    weights: Weights


class SoftMatch:
    """The marginals, in blocks along the diagonal of time."""

    def __init__(self, blocks: list[_Block], originated: Floats, message: Floats, ended: Floats) -> None:
        self._blocks = blocks
        self.originated = originated
        self.message = message
        self.ended = ended

    def back(self, outputs: Look, touched: Bools) -> Iterator[Part]:
        for block in self._blocks:
            if touched[block.outputs].any():
                yield block.inputs, outputs(block.outputs) @ block.weights

    def forth(self, inputs: Look, touched: Bools) -> Iterator[Part]:
        for block in self._blocks:
            if touched[block.inputs].any():
                yield block.outputs, inputs(block.inputs) @ block.weights.T

    def shares(self, kernel: DelayKernel) -> tuple[float, ...]:
        """Of the parts of the kernel's mixture, as far as these pairs tell: a step of EM."""
        sums = np.full(kernel.parts, 1e-3)
        for block in self._blocks:
            parts = kernel.responsible(block.outputs, block.inputs)
            sums += (parts * block.weights).sum(axis=(1, 2))
        return tuple(sums / sums.sum())

    @property
    def weights(self) -> Floats:
        """(J, I), dense: for tests and small examples."""
        dense = np.zeros((len(self.originated), len(self.ended)))
        for block in self._blocks:
            dense[block.outputs, block.inputs] += block.weights
        return dense


def match(
    kernel: Kernel, out_at: Floats, back_to: tuple[Ints, Ints] | None, own_share: float, cover: float = 0.0
) -> SoftMatch:
    """Balance one node's matrix. `back_to`: each output's dst and each input's src; a path does not turn
    back, so a pair where they are equal is impossible (None: it may). `own_share`: prior share of outputs
    that originate, which is also that of inputs that end."""
    blocks = list(_blocks(kernel, back_to, 1.0 - own_share))
    outputs, inputs = len(out_at), len(kernel.survival)
    rate = _Rate(kernel, out_at, own_share)
    slack = own_share + (1.0 - own_share) * kernel.survival
    columns = np.ones(inputs)
    rows = originated = np.zeros(outputs)
    for _ in range(ROUNDS):
        own = rate.weights
        rows = 1.0 / np.maximum(_times(blocks, columns, outputs, across=True) + own, 1e-300)
        originated = rows * own
        rate.learn(originated)
        columns = 1.0 / np.maximum(_times(blocks, rows, inputs, across=False) + slack, 1e-300)
    made = _times(blocks, columns, outputs, across=True)
    own = rate.weights
    rows = 1.0 / np.maximum(made + own, 1e-300)
    scaled = [
        _Block(
            block.outputs,
            block.inputs,
            (block.weights * rows[block.outputs, None] * columns[None, block.inputs]).astype(np.float32),
        )
        for block in blocks
    ]
    ended = np.clip(columns * own_share, 0.0, 1.0)
    originated = rows * own
    return SoftMatch(
        scaled,
        originated,
        originated
        * rate.messages(_times(blocks, ended, outputs, across=True) / (1.0 - own_share) * ANSWERED, cover),
        ended,
    )


def _blocks(kernel: Kernel, back_to: tuple[Ints, Ints] | None, kept: float) -> list[_Block]:
    made = []
    for start in range(0, len(kernel.first), BLOCK):
        outputs = slice(start, min(start + BLOCK, len(kernel.first)))
        inputs = slice(int(kernel.first[outputs].min()), int(kernel.last[outputs].max()))
        if inputs.stop <= inputs.start:
            continue
        weights = kernel.block(outputs, inputs) * kept
        if back_to is not None:
            weights[back_to[0][outputs, None] == back_to[1][None, inputs]] = 0.0
        made.append(_Block(outputs, inputs, weights.astype(np.float32)))
    return made


def _times(blocks: list[_Block], vector: Floats, size: int, across: bool) -> Floats:
    """The matrix times a vector over inputs, or (not `across`) its transpose times one over outputs."""
    result = np.zeros(size)
    for block in blocks:
        if across:
            result[block.outputs] += block.weights @ vector[block.inputs]
        else:
            result[block.inputs] += vector[block.outputs] @ block.weights
    return result


class _Rate:
    """The rate of own sending around each output, from how many outputs probably originated."""

    def __init__(self, kernel: Kernel, out_at: Floats, prior: float) -> None:
        n = len(out_at)
        self._prior = prior
        self._per_second = kernel.per_second
        place = np.arange(n)
        if kernel.flush is None:
            low = np.searchsorted(out_at, out_at - kernel.smoothing, side="left")
            high = np.searchsorted(out_at, out_at + kernel.smoothing, side="right")
            self._low = np.maximum(np.minimum(low, place - NEIGHBOURS), 0)
            self._high = np.minimum(np.maximum(high, place + NEIGHBOURS + 1), n)
            spanned = out_at[self._high - 1] - out_at[self._low] if n else np.zeros(0)
            self._exposure = np.maximum(spanned, 2.0 * kernel.smoothing)
        else:  # whole flushes: each stands for its interval, once
            starts = np.flatnonzero(np.diff(kernel.flush, prepend=-1))
            ends = np.append(starts[1:], n)
            first = kernel.flush[np.maximum(place - NEIGHBOURS, 0)]
            last = kernel.flush[np.minimum(place + NEIGHBOURS, n - 1)]
            self._low, self._high = starts[first], ends[last]
            passed = np.concatenate([[0.0], np.cumsum(kernel.per_second[starts])])
            self._exposure = passed[last + 1] - passed[first]
        self._count = self._high - self._low
        self.learn(np.full(n, prior))

    def learn(self, originated: Floats) -> None:
        total = np.concatenate([[0.0], np.cumsum(originated)])
        seen = total[self._high] - total[self._low]
        share = (seen + PRIOR_OUTPUTS * self._prior) / (self._count + PRIOR_OUTPUTS)
        rate = share * self._count / np.maximum(self._exposure, 1e-9)
        self.weights: Floats = np.maximum(rate * self._per_second, 1e-12)

    def messages(self, answers: Floats, cover: float) -> Floats:
        """(J,): of what originates, the share that is left when the answers that are to be expected (by
        output, in the unit of the weights) and `cover` (packets a second) are taken off."""
        total = np.concatenate([[0.0], np.cumsum(answers)])
        expected = (total[self._high] - total[self._low]) / np.maximum(self._count, 1)
        known = expected + cover * self._per_second
        share: Floats = np.clip(1.0 - known / self.weights, LEAST, 1.0)
        return share
