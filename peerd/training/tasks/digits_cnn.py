"""digits-cnn: a small convolutional network on scikit-learn's digits; 10,074 floats."""

from __future__ import annotations

from torch import nn

from peerd.training.tasks.digits import CLASSES, MEAN, STD, load
from peerd.training.torchtask import Pixels, TorchTask


def build() -> nn.Module:
    """At most 16 channels deep on 8 x 8 pixels; the last block keeps 4 x 4, enough to normalise over."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def make() -> TorchTask:
    """A small CNN on scikit-learn's bundled handwritten digits (8 x 8 pixels)."""
    return TorchTask(model=build, data=load, classes=CLASSES, prepare=Pixels((MEAN,), (STD,)))
