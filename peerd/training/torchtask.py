"""Tasks that train a model of torch: `TorchTask` and its learner, on the CPU or a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from peerd.errors import InvalidInputError
from peerd.trainerproto import Vector
from peerd.training.adam import Adam
from peerd.training.draw import Draw, learning_rate
from peerd.training.flat import FlatModel
from peerd.training.freezing import Freezing
from peerd.training.task import Host, Indices, Learner, Outcome, Samples, Share, Stream, up_to

TEST_BATCH = 100
STATISTICS_SAMPLES = 256
"""That batch normalisation's statistics are taken from after training."""


class Optimizer(Protocol):
    """On one flat tensor, with the gradient in another. The learner sets `rate` before every round."""

    rate: float

    def zero_gradient(self) -> None: ...

    def step(self) -> None: ...


class TorchOptimizer:
    """Any of torch.optim's, as in `optimizer=TorchOptimizer.of(torch.optim.SGD, momentum=0.9)`. It sees the
    whole model as one parameter."""

    def __init__(self, made: torch.optim.Optimizer, gradient: Tensor, rate: float) -> None:
        self._made = made
        self._gradient = gradient
        self.rate = rate

    @staticmethod
    def of(kind: Callable[..., torch.optim.Optimizer], **settings: object) -> MakeOptimizer:
        def make(weights: Tensor, gradient: Tensor, rate: float) -> TorchOptimizer:
            parameter = nn.Parameter(weights)  # shares the tensor's memory
            parameter.grad = gradient
            return TorchOptimizer(kind([parameter], lr=rate, **settings), gradient, rate)

        return make

    def zero_gradient(self) -> None:
        """In place: the model's layers hold views of it."""
        self._gradient.zero_()

    def step(self) -> None:
        for group in self._made.param_groups:
            group["lr"] = self.rate
        self._made.step()


MakeOptimizer = Callable[[Tensor, Tensor, float], Optimizer]
"""From flat weights, flat gradient and learning rate."""


def as_floats(features: Tensor) -> Tensor:
    """Floats and tokens (int64) as they are, bytes as floats."""
    return features.to(torch.float32) if features.dtype == torch.uint8 else features


def correct(output: Tensor, labels: Tensor) -> Tensor:
    """One for each sample whose class has the highest score, shape (n,)."""
    return output.argmax(1) == labels


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images of bytes, shape (n, channels, height, width), scaled by mean and deviation: one of each for all
    channels, or one for each channel. Channels last makes torch's convolutions on a CPU a fifth faster."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        if len(self.mean) == 1:
            return floats.sub_(self.mean[0]).div_(self.std[0])
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return floats.sub_(mean).div_(std)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchTask:
    """A model, its data, and how it is trained and judged."""

    model: Callable[[], nn.Module]
    """Called after torch's generator was seeded, so that all peers make the same."""
    data: Callable[[], tuple[Samples, Samples]]
    """Training samples and test samples."""
    classes: int
    """Labels go from 0 to classes - 1; 0: they are no classes but numbers."""
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    """Of output and labels of a batch: one number."""
    metric: Callable[[Tensor, Tensor], Tensor] = correct
    """Of output and labels: one number for each sample, shape (n,). Their mean is shown as accuracy."""
    optimizer: MakeOptimizer = Adam
    prepare: Callable[[Tensor], Tensor] = as_floats
    """From a batch of features to what the model is given."""

    def learner(self, share: Share) -> Learner:
        return TorchLearner(self, share)


class TorchLearner:
    """See `Learner`."""

    def __init__(self, task: TorchTask, share: Share) -> None:
        """Raises InvalidInputError for a model that cannot be exchanged or a device that is not there."""
        self._task = task
        self._spec = share.spec
        self._shard = share.shard
        self._alive = share.host.alive
        self._stream = share.host.stream
        self._device = pick_device(share.host)
        torch.set_num_threads(share.host.threads)
        self._features, self._labels = self._tensors(share.train)
        self._test_features, self._test_labels = self._tensors(share.test)
        torch.manual_seed(share.spec.seed)
        model = task.model()
        if not isinstance(model, nn.Module):
            raise InvalidInputError(
                f"task {share.spec.task!r}: model() returned {type(model).__name__}, not a torch.nn.Module"
            )
        self._model = FlatModel(model.to(self._device))
        # Kept from round to round: measured in README.md.
        rate = learning_rate(share.spec, 1)
        self._optimizer = task.optimizer(self._model.weights, self._model.gradient, rate)

    @property
    def exact(self) -> int:
        """Statistics of batch normalisation: a variance is a small difference of two of them."""
        return self._model.statistics

    @property
    def form(self) -> str:
        """Names and shapes of what is exchanged."""
        return self._model.form

    def vector(self) -> Vector:
        return self._model.vector().numpy(force=True)

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        began = time.monotonic()
        draw = Draw(self._spec, round, self._shard, len(self._labels))
        torch.manual_seed(int(np.random.default_rng([self._spec.seed, self._shard, round]).integers(2**62)))
        self._optimizer.rate = draw.rate
        self._model.load(torch.from_numpy(vector))
        self._model.module.train()
        losses: list[float] = []
        frozen = _Frozen(self._model.weights, draw.total, self._spec.streaming, self._stream)
        for done, batch in enumerate(draw.batches(), 1):
            losses.append(self._step(batch))
            frozen.after(done)
            self._alive()
        self._take_statistics(draw.chosen[:STATISTICS_SAMPLES])
        trained = self.vector()
        if self._stream.fragments:
            frozen.rest(trained)
            self._alive()  # so that all is sent while the model is measured
        accuracy, _ = self._measure(self._spec.test_samples)
        seconds = time.monotonic() - began
        return trained, Outcome(draw.mean_loss(losses), accuracy, len(draw.chosen), seconds)

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        began = time.monotonic()
        self._model.load(torch.from_numpy(vector))
        accuracy, samples = self._measure(samples)
        return Outcome(0.0, accuracy, samples, time.monotonic() - began)

    def _step(self, batch: Indices) -> float:
        where = torch.from_numpy(batch).to(self._device)
        self._optimizer.zero_gradient()
        output = self._model.module(self._task.prepare(self._features[where]))
        loss = self._task.loss(output, self._labels[where])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.item()

    def _take_statistics(self, chosen: Indices) -> None:
        """The running statistics that training leaves behind lag behind the weights, most of all in the
        first rounds; what is exchanged is measured afresh with the final weights."""
        if self._model.has_statistics:
            features = self._features[torch.from_numpy(chosen).to(self._device)]
            with torch.no_grad():
                self._model.take_statistics(self._task.prepare(features))

    def _measure(self, samples: int) -> tuple[float, int]:
        samples = up_to(samples, len(self._test_labels))
        self._model.module.eval()
        score = 0.0
        with torch.inference_mode():
            for start in range(0, samples, TEST_BATCH):
                part = slice(start, min(start + TEST_BATCH, samples))
                output = self._model.module(self._task.prepare(self._test_features[part]))
                scores = self._task.metric(output, self._test_labels[part])
                if scores.shape != (part.stop - part.start,):
                    raise InvalidInputError(
                        f"task {self._spec.task!r}: its metric must give one number for each sample"
                    )
                score += scores.sum().item()
                self._alive()
        return score / samples, samples

    def _tensors(self, samples: Samples) -> tuple[Tensor, Tensor]:
        features, labels = torch.from_numpy(samples.features), torch.from_numpy(samples.labels)
        return features.to(self._device), labels.to(self._device)


class _Frozen:
    """The fragments of a round that are final, held fast against the optimiser, whichever it is."""

    def __init__(self, weights: Tensor, batches: int, streaming: float, stream: Stream) -> None:
        self._weights = weights
        self._stream = stream
        self._frozen: set[int] = set()
        if stream.fragments:
            whole = [i for i in range(stream.fragments) if stream.slice(i).stop <= len(weights)]
            self._freezing = Freezing(whole, batches, streaming)
            self._kept, self._mask = weights.clone(), torch.zeros_like(weights, dtype=torch.bool)

    def after(self, batches: int) -> None:
        """A step of the optimiser."""
        if not self._stream.fragments:
            return
        if self._frozen:
            self._weights.copy_(torch.where(self._mask, self._kept, self._weights))
        for index in self._freezing.after(batches):
            where = self._stream.slice(index)
            self._kept[where] = self._weights[where]
            self._mask[where] = True
            self._frozen.add(index)
            self._stream.put(index, self._weights[where].numpy(force=True))

    def rest(self, trained: Vector) -> None:
        """All others are final, too: those with statistics, which are taken last."""
        for index in range(self._stream.fragments):
            if index not in self._frozen:
                self._stream.put(index, trained[self._stream.slice(index)])


def pick_device(host: Host) -> torch.device:
    """auto: the first that is there of CUDA, MPS, CPU. Raises InvalidInputError for one that is not."""
    there = [name for name, backend in _accelerators().items() if backend()] + ["cpu"]
    if host.device != "auto" and host.device not in there:
        raise InvalidInputError(
            f"device {host.device!r} is not there; [training] device may be auto, {', '.join(there)}"
        )
    return torch.device(there[0] if host.device == "auto" else host.device)


def _accelerators() -> dict[str, Callable[[], bool]]:
    return {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
