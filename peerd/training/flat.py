"""A model as one flat float32 vector, the form in which peers exchange and average it.

    | parameters | other buffers | running means | running second moments |

What is exchanged is what training changes: the trainable parameters (tied ones once), and the float buffers
that `state_dict` keeps. Frozen parameters are as the task's factory makes them, on every peer alike; so are
buffers that are not kept, or are integers (counters). Everything exchanged must be float32.

A normalisation's running statistics are averaged too, and there an average needs care: the mean of
the peers' variances misses that the peers' means differ. So the vector carries E[x] and E[x^2]; averaging
those and taking var = E[x^2] - E[x]^2 is the law of total variance, exact for equally many samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peerd.errors import InvalidInputError

_Norm = nn.modules.batchnorm._NormBase
"""Batch and instance normalisation of every dimension; other kinds keep no statistics."""


class FlatModel:
    """Owns a module's parameters and gradients as two flat tensors, of which the module holds views."""

    def __init__(self, module: nn.Module) -> None:
        """Raises InvalidInputError for a module that cannot be written down so."""
        self.module = module
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        _check(module, len(weights))
        self.weights = torch.cat([weight.detach().flatten() for weight in weights])
        self.gradient = torch.zeros_like(self.weights)
        offset = 0
        for weight in weights:
            span = slice(offset, offset + weight.numel())
            weight.data = self.weights[span].view_as(weight)
            weight.grad = self.gradient[span].view_as(weight)
            offset = span.stop
        self._norms = [
            part for part in module.modules() if isinstance(part, _Norm) and part.running_mean is not None
        ]
        self._buffers = _other_buffers(module, self._norms)

    @property
    def form(self) -> str:
        """Names and shapes of what is exchanged, in the module's order."""
        return " ".join(f"{name}{list(tensor.shape)}" for name, tensor in _exchanged(self.module))

    @property
    def has_statistics(self) -> bool:
        return bool(self._norms)

    @property
    def statistics(self) -> int:
        """How many values of the vector are statistics: the last ones."""
        return 2 * sum(norm.num_features for norm in self._norms)

    def vector(self) -> Tensor:
        """A copy of everything that is exchanged, shape (size,)."""
        statistics = [_running(norm) for norm in self._norms]
        means = [mean for mean, _ in statistics]
        seconds = [var + mean.square() for mean, var in statistics]
        return torch.cat([self.weights, *(buffer.flatten() for buffer in self._buffers), *means, *seconds])

    def load(self, vector: Tensor) -> None:
        """Take over a vector that `vector` made, or an average of such vectors."""
        sizes = [norm.num_features for norm in self._norms]
        kept = [buffer.numel() for buffer in self._buffers]
        weights, *rest = torch.split(vector, [self.weights.numel(), *kept, *sizes, *sizes])
        self.weights.copy_(weights)
        for buffer, values in zip(self._buffers, rest, strict=False):
            buffer.copy_(values.view_as(buffer))
        statistics = [part.to(self.weights.device) for part in rest[len(kept) :]]
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


def _check(module: nn.Module, trainable: int) -> None:
    if not trainable:
        raise InvalidInputError("the model has no trainable parameters")
    for name, tensor in _exchanged(module):
        lazy = nn.parameter.is_lazy(tensor)
        inexact = tensor.is_floating_point() or tensor.is_complex()
        if lazy or (inexact and tensor.dtype != torch.float32):
            kind = "not initialised (a lazy module)" if lazy else tensor.dtype
            raise InvalidInputError(
                f"the model's {name} is {kind}; models are exchanged as float32: build it so, with .float()"
            )


def _exchanged(module: nn.Module) -> list[tuple[str, Tensor]]:
    """And counters, which are not, but are kept."""
    kept = set(module.state_dict())
    named: list[tuple[str, Tensor]] = [(n, w) for n, w in module.named_parameters() if w.requires_grad]
    return named + [(name, buffer) for name, buffer in module.named_buffers() if name in kept]


def _other_buffers(module: nn.Module, norms: list[_Norm]) -> list[Tensor]:
    statistics = {id(tensor) for norm in norms for tensor in _running(norm)}
    kept = set(module.state_dict())
    return [
        buffer
        for name, buffer in module.named_buffers()
        if name in kept and buffer.is_floating_point() and id(buffer) not in statistics
    ]


def _running(norm: _Norm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var
