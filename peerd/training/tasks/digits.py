"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; no download."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from peerd.errors import InvalidInputError, NotFoundError
from peerd.training.task import Samples

SIDE = 8
CLASSES = 10
MEAN, STD = 4.884, 6.017
"""Of the training pixels, to scale them by."""
TEST_SHARE = 5
"""Every fifth sample of a fixed permutation is for testing: 360 of 1,797, the same on every peer."""


def load() -> tuple[Samples, Samples]:
    """Features of shape (n, 1, 8, 8), uint8."""
    path = _bundled()
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        images, labels = table[:, :-1].reshape(-1, 1, SIDE, SIDE), table[:, -1]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise InvalidInputError(
            f"{path}: not scikit-learn's digits: {error}; reinstall scikit-learn"
        ) from None
    whole = Samples(images, labels)
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
