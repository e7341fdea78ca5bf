"""cifar10-cnn: colour pictures of 32 x 32 pixels, from the binary version of CIFAR-10 (Krizhevsky 2009).

Each file is a row of records: a label of one byte, then 1,024 bytes each of red, green and blue. The Python
version of the same data is pickle, which runs whatever code it brings, and is not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peerd.dataset import find_files
from peerd.training.idx import reading
from peerd.training.task import Samples
from peerd.training.tasks.mnist import CLASSES, build
from peerd.training.torchtask import Pixels, TorchTask

SIDE = 32
CHANNELS = 3
RECORD = 1 + CHANNELS * SIDE * SIDE
MAX_RECORDS = 100_000
"""Of a file; the published ones have 10,000."""
MEAN = (125.3, 123.0, 113.9)
STD = (63.0, 62.1, 66.7)
"""Of the training pixels, by channel (Zagoruyko and Komodakis 2016)."""


def make(data_dir: str) -> TorchTask:
    """A CNN on small colour pictures (32 x 32 pixels), from CIFAR-10's binary files in --data-dir."""
    return TorchTask(
        model=lambda: build(CHANNELS),
        data=lambda: load(data_dir),
        classes=CLASSES,
        prepare=Pixels(MEAN, STD),
    )


def load(data_dir: str) -> tuple[Samples, Samples]:
    """Features of shape (n, 3, 32, 32), uint8."""
    *train, test = (read_records(path) for path in find_files("cifar10-cnn", data_dir))
    joined = (
        np.concatenate([part.features for part in train]),
        np.concatenate([part.labels for part in train]),
    )
    return Samples(*joined), test


def read_records(path: Path) -> Samples:
    """One file, plain or gzipped. Raises InvalidInputError with one line that names it."""
    with reading(path, "CIFAR-10 binary file") as file:
        content = file.read(MAX_RECORDS * RECORD + 1)
        if not content or len(content) % RECORD or len(content) > MAX_RECORDS * RECORD:
            raise ValueError(
                f"{len(content)} bytes, not 1 to {MAX_RECORDS} records of {RECORD}; "
                "unpack cifar-10-binary.tar.gz again"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        if (worst := int(records[:, 0].max())) >= CLASSES:
            raise ValueError(f"label {worst}; labels go from 0 to {CLASSES - 1}")
    return Samples(records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE), records[:, 0])
