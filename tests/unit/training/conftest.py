"""A folder with a tiny MNIST: the four IDX files, images that even a few steps can tell apart."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from peerd.dataset import MNIST_FILES


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 20 test images; the label is the row that is white. Half the files are zipped."""
    folder = tmp_path_factory.mktemp("mnist")
    for names, count in ((MNIST_FILES[:2], 60), (MNIST_FILES[2:], 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[np.arange(count), 2 * labels + 4] = 255
        (folder / names[0]).write_bytes(_idx(images))
        (folder / f"{names[1]}.gz").write_bytes(gzip.compress(_idx(labels)))
    return folder
