"""digits-cnn: the 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; no download."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from torch import nn

from peerd.errors import NotFoundError
from peerd.training.tasks.task import Samples, Task

SIDE = 8
TEST_SHARE = 5
"""Every fifth sample of a fixed permutation is for testing: 360 of 1,797, the same on every peer."""


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


def load(data_dir: str) -> tuple[Samples, Samples]:
    """`data_dir` is not used: the data lies in the scikit-learn package."""
    path = _bundled()
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1]
    whole = Samples.checked(images, labels, side=SIDE, classes=10, where=str(path))
    order = np.random.default_rng(0).permutation(len(labels))
    test = np.arange(len(order)) % TEST_SHARE == 0
    return whole.take(order[~test]), whole.take(order[test])


def _bundled() -> Path:
    """The file itself: importing scikit-learn to read it would cost 0.6 s and 75 MB in every trainer."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise NotFoundError("scikit-learn, which brings the digits, is not installed: pip install 'peerd[train]'")


DIGITS_CNN = Task(build=build, load=load, mean=4.884, std=6.017)
