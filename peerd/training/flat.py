"""A model as one flat float32 vector, the form in which peers exchange and average it.

    | parameters | running means | running second moments |

Batch normalisation's running statistics are averaged too, and there an average needs care: the mean of
the peers' variances misses that the peers' means differ. So the vector carries E[x] and E[x^2]; averaging
those and taking var = E[x^2] - E[x]^2 is the law of total variance, exact for equally many samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatModel:
    """Owns a module's parameters and gradients as two flat tensors, of which the module holds views."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        weights = list(module.parameters())
        self.weights = torch.cat([weight.detach().flatten() for weight in weights])
        self.gradient = torch.zeros_like(self.weights)
        offset = 0
        for weight in weights:
            span = slice(offset, offset + weight.numel())
            weight.data = self.weights[span].view_as(weight)
            weight.grad = self.gradient[span].view_as(weight)
            offset = span.stop
        self._norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]

    def vector(self) -> Tensor:
        """A copy of everything that is exchanged, shape (size,)."""
        statistics = [_running(norm) for norm in self._norms]
        means = [mean for mean, _ in statistics]
        seconds = [var + mean.square() for mean, var in statistics]
        return torch.cat([self.weights, *means, *seconds])

    def load(self, vector: Tensor) -> None:
        """Take over a vector that `vector` made, or an average of such vectors."""
        sizes = [norm.num_features for norm in self._norms]
        weights, *statistics = torch.split(vector, [self.weights.numel(), *sizes, *sizes])
        self.weights.copy_(weights)
        means, seconds = statistics[: len(sizes)], statistics[len(sizes) :]
        for norm, mean, second in zip(self._norms, means, seconds, strict=True):
            running_mean, running_var = _running(norm)
            running_mean.copy_(mean)
            running_var.copy_((second - mean.square()).clamp_min(0.0))

    def take_statistics(self, batch: Tensor) -> None:
        """Replace the running statistics by those of one batch, with the present weights."""
        momenta = [norm.momentum for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 1.0
        self.module.train()
        self.module(batch)
        for norm, momentum in zip(self._norms, momenta, strict=True):
            norm.momentum = momentum


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise ValueError("batch normalisation without running statistics cannot be exchanged")
    return mean, var
